// GroupNorm forward (Wu & He 2018), with SiLU and scale-shift fused:
//   xhat = (x - mean) / sqrt(var + eps) over an image's pixels and the C/G channels of a group,
//   y = activation((xhat gamma + beta) (1 + scale) + shift).
//
// x [N,P,C] in one or two sources, y [N,P,C], gamma and beta [C] float32, scale_shift [N,2C],
// statistics [N,G,2].
//
// The idea: a block that holds all pixels of its groups reads them three times, for the mean, for the
// variance around that mean, and to normalise; only the first time comes from memory, the slab (1024 pixels
// of 64 bytes: 64 KiB) stays in L1/L2 meanwhile. The two-pass variance is exact where the mean is large;
// E[x^2] - E[x]^2 is not. Where images are few and large, blocks take chunks of the pixels, leave (mean,
// M2) of their chunk behind, and a second launch merges these (Chan, Golub & LeVeque 1983) and normalises.
//
// Cost: reads x once and writes y once (twice x with chunks): at 32x32x128, N = 128, bfloat16: 67 MB, 22 us
// at 3 TB/s.
#include "kernels/cuda/device/vec.h"
#include "kernels/cuda/norm/group_norm_slab.h"
#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

template <class T>
struct Forward {
  Slabs s;
  Sides<const T> x;
  const float *gamma, *beta;
  const T* scale_shift;  // may be null
  T* y;
  float* statistics;  // [N,G,2] = (mean, rstd)
  float* partials;    // [N,chunks,G,2] = (mean, M2) of a chunk, where there are several
  float eps;
  bool silu;
};

/// What a thread adds of each pixel: its channels' x or, kSquared, (x - center)^2.
template <int kWidth, bool kSquared, class T>
struct Moments {
  Column<const T> x;
  float center[kWidth];

  __device__ __forceinline__ Values<kWidth> load(int p) const {
    Values<kWidth> read;
    load_width<kWidth>(x.at(p), read.v);
    return read;
  }
  __device__ __forceinline__ void add(const Values<kWidth>& read, float (&sum)[1][kWidth]) const {
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      const float distance = read.v[e] - center[e];
      sum[0][e] += kSquared ? distance * distance : read.v[e];
    }
  }
};

/// Mean and M2 = sum (x - mean)^2 of the slab's groups over the chunk, to shared memory.
template <int kWidth, class T>
__device__ __forceinline__ void chunk_moments(const Forward<T>& f, const Place& at, float* tree, float* total,
                                              float* mean, float* m2) {
  const Slabs& s = f.s;
  const int thread = static_cast<int>(threadIdx.x),
            groups = (at.end_channel - at.first_channel) / s.per_group;
  const int64_t image = static_cast<int64_t>(at.image) * s.pixels;
  const auto sum_groups = [&](float* out, float factor) {
    for (int g = thread; g < groups; g += kSlabThreads) {
      float sum = 0.0f;
      for (int c = 0; c < s.per_group; ++c) sum += total[g * s.per_group + c];
      out[g] = sum * factor;
    }
    __syncthreads();
  };

  constexpr int kInFlight = 4;  // 64 bytes a thread on their way
  sum_over_pixels<kWidth, 1, kInFlight>(s, at, tree, {total}, [&](int c) {
    return Moments<kWidth, false, T>{f.x.column(image, c), {}};
  });
  sum_groups(mean,
             1.0f / (static_cast<float>(at.end_pixel - at.first_pixel) * static_cast<float>(s.per_group)));

  sum_over_pixels<kWidth, 1, kInFlight>(s, at, tree, {total}, [&](int c) {
    Moments<kWidth, true, T> terms{f.x.column(image, c), {}};
    for (int e = 0; e < kWidth; ++e) terms.center[e] = mean[(c + e - at.first_channel) / s.per_group];
    return terms;
  });
  sum_groups(m2, 1.0f);
}

/// y of the slab's chunk, with mean and rstd of its groups in shared memory.
template <int kWidth, class T>
__device__ __forceinline__ void normalise(const Forward<T>& f, const Place& at, const float* mean,
                                          const float* rstd) {
  const Slabs& s = f.s;
  const int64_t image = static_cast<int64_t>(at.image) * s.pixels;
  for (int c = at.first_channel + at.column * kWidth; c < at.end_channel; c += s.columns * kWidth) {
    float center[kWidth], factor[kWidth], offset[kWidth];  // h = (x - center) factor + offset
    for (int e = 0; e < kWidth; ++e) {
      const int g = (c + e - at.first_channel) / s.per_group;
      center[e] = mean[g];
      factor[e] = rstd[g] * f.gamma[c + e];
      offset[e] = f.beta[c + e];
      if (f.scale_shift) {
        const T* row = f.scale_shift + static_cast<int64_t>(at.image) * 2 * s.channels;
        const float scale = 1.0f + to_float(row[c + e]);
        factor[e] *= scale;
        offset[e] = offset[e] * scale + to_float(row[s.channels + c + e]);
      }
    }
    const Column<const T> x = f.x.column(image, c);
    const Column<T> y{f.y + image * s.channels + c, s.channels};
    for (int p = at.first_pixel + at.row; p < at.end_pixel; p += s.rows) {
      float v[kWidth];
      load_width<kWidth>(x.at(p), v);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) {
        const float h = (v[e] - center[e]) * factor[e] + offset[e];
        v[e] = f.silu ? h * sigmoid(h) : h;
      }
      store_width<kWidth>(y.at(p), v);
    }
  }
}

/// Blocks that a multiprocessor is to hold of group_norm_kernel. Left to itself, ptxas aims at six and spills
/// on sm_120.
template <int kWidth, bool kWhole, class T>
constexpr int kNormBlocks = kWhole           ? 4
                            : kWidth == 1    ? 6
                            : sizeof(T) == 2 ? 5
                                             : 4;

/// One launch where a block sees whole groups (kWhole); else the first of two.
template <int kWidth, bool kWhole, class T>
__global__ void __launch_bounds__(kSlabThreads, kNormBlocks<kWidth, kWhole, T>)
    group_norm_kernel(const Forward<T> f) {
  IMAGO_DYNAMIC_SHARED(shared);
  float* const tree = reinterpret_cast<float*>(shared);  // [kWidth * 256]
  float* const total = tree + kWidth * kSlabThreads;     // [slab]
  float* const mean = total + f.s.slab;                  // [groups of the slab]
  float* const m2 = mean + f.s.slab / f.s.per_group;     // then rstd
  const Place at(f.s);
  chunk_moments<kWidth>(f, at, tree, total, mean, m2);

  const int groups = (at.end_channel - at.first_channel) / f.s.per_group;
  const int64_t first = at.first_channel / f.s.per_group, all = f.s.channels / f.s.per_group;
  for (int g = static_cast<int>(threadIdx.x); g < groups; g += kSlabThreads) {
    if constexpr (kWhole) {
      m2[g] =
          1.0f / sqrtf(m2[g] / (static_cast<float>(f.s.pixels) * static_cast<float>(f.s.per_group)) + f.eps);
      float* const out = f.statistics + (at.image * all + first + g) * 2;
      out[0] = mean[g];
      out[1] = m2[g];
    } else {
      float* const out =
          f.partials + ((static_cast<int64_t>(at.image) * f.s.chunks + at.chunk_index) * all + first + g) * 2;
      out[0] = mean[g];
      out[1] = m2[g];
    }
  }
  if constexpr (kWhole) {
    __syncthreads();
    normalise<kWidth>(f, at, mean, m2);
  }
}

/// The second of two: merges the chunks' moments, in order, and normalises.
template <int kWidth, class T>
__global__ void __launch_bounds__(kSlabThreads) group_norm_apply_kernel(const Forward<T> f) {
  IMAGO_DYNAMIC_SHARED(shared);
  float* const mean = reinterpret_cast<float*>(shared);  // [groups of the slab]
  float* const rstd = mean + f.s.slab / f.s.per_group;
  const Place at(f.s);
  const int groups = (at.end_channel - at.first_channel) / f.s.per_group;
  const int64_t first = at.first_channel / f.s.per_group, all = f.s.channels / f.s.per_group;
  for (int g = static_cast<int>(threadIdx.x); g < groups; g += kSlabThreads) {
    float count = 0.0f, average = 0.0f, m2 = 0.0f;
    for (int k = 0; k < f.s.chunks; ++k) {
      const float* part =
          f.partials + ((static_cast<int64_t>(at.image) * f.s.chunks + k) * all + first + g) * 2;
      const float more =
          static_cast<float>(min(f.s.chunk, f.s.pixels - k * f.s.chunk)) * static_cast<float>(f.s.per_group);
      const float share = more / (count + more), distance = part[0] - average;
      m2 += part[1] + distance * distance * count * share;
      average += distance * share;
      count += more;
    }
    mean[g] = average;
    rstd[g] = 1.0f / sqrtf(m2 / count + f.eps);
    if (at.chunk_index == 0) {
      float* const out = f.statistics + (at.image * all + first + g) * 2;
      out[0] = mean[g];
      out[1] = rstd[g];
    }
  }
  __syncthreads();
  normalise<kWidth>(f, at, mean, rstd);
}

template <int kWidth, class T>
void launch_forward(const Gpu& gpu, const Forward<T>& f, int64_t images) {
  const int groups = f.s.groups_per_slab();
  const size_t moments_floats = static_cast<size_t>(kWidth * kSlabThreads + f.s.slab + 2 * groups);
  if (f.s.chunks == 1) {
    launch(group_norm_kernel<kWidth, true, T>, slab_config(gpu, f.s, images, moments_floats), f);
    return;
  }
  launch(group_norm_kernel<kWidth, false, T>, slab_config(gpu, f.s, images, moments_floats), f);
  launch(group_norm_apply_kernel<kWidth, T>, slab_config(gpu, f.s, images, static_cast<size_t>(2 * groups)),
         f);
}

}  // namespace

void CudaBackend::group_norm(const Concat& x, ConstTensorRef gamma, ConstTensorRef beta,
                             ConstTensorRef scale_shift, const GroupNormConfig& config, TensorRef y,
                             TensorRef statistics, Workspace& workspace) {
  if (y.numel() == 0) return;
  const bool eights = in_eights(x) && aligned16(y.data);
  const int width = eights ? 8 : 1;
  const int64_t images = y.shape[0], second_source = x.channels() - x.a.shape[-1];
  const auto candidates = [&] {
    return group_norm_candidates(gpu_, x.a.shape, second_source, config.groups, width);
  };
  const auto bytes = [&](Choice c, Purpose) {
    return c.parts > 1 ? static_cast<size_t>(images) * c.parts * config.groups * 2 * sizeof(float) : 0;
  };
  dispatch_float(y.dtype, "group_norm", [&](auto t) {
    using T = decltype(t);
    const auto run = [&](Choice c, Purpose, void* partials) {
      const Forward<T> f{Slabs(x.a.shape, second_source, config.groups, width, c),
                         x,
                         gamma.as<float>(),
                         beta.as<float>(),
                         scale_shift.as<T>(),
                         y.as<T>(),
                         statistics.as<float>(),
                         static_cast<float*>(partials),
                         config.eps,
                         config.activation == Activation::kSilu};
      eights ? launch_forward<8>(gpu_, f, images) : launch_forward<1>(gpu_, f, images);
    };
    run_fastest(gpu_, group_norm_key(TunedOp::kGroupNorm, x, config, scale_shift, eights), workspace,
                candidates, bytes, run);
  });
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
