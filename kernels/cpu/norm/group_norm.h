// What GroupNorm's forward and backward share: the cutting into chunks, the two sources, the order of work.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/columns.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/sources.h"

namespace imago::cpu {

struct GroupNormShape {
  int64_t images, pixels, channels, groups;
  int64_t chunk_rows, chunks;  // pixels a chunk; chunks an image

  GroupNormShape(const Shape& x, int64_t channels, int64_t groups)
      : images(x[0]),
        pixels(x[0] && x[-1] ? x.numel() / (x[0] * x[-1]) : 0),
        channels(channels),
        groups(groups),
        chunk_rows(rows_per_chunk(channels)),
        chunks(ceil_div(pixels, chunk_rows)) {}
  int64_t per_group() const { return channels / groups; }
  int64_t row(int64_t n, int64_t chunk) const { return n * pixels + chunk * chunk_rows; }
  int64_t rows(int64_t chunk) const { return std::min(chunk_rows, pixels - chunk * chunk_rows); }
};

/// For channels [begin, end) of one group, whose statistics are (mean, rstd): h = (x - mean) factor + offset.
/// (x - mean) is taken first: x factor + (offset - mean factor) would cancel where |mean| is large.
template <class T>
inline void channel_affine(const float* gamma, const float* beta, const T* scale_shift, int64_t channels,
                           const float* statistics, int64_t begin, int64_t end, float* mean, float* factor,
                           float* offset) {
  for (int64_t i = begin; i < end; ++i) {
    mean[i] = statistics[0];
    factor[i] = statistics[1] * gamma[i];
    offset[i] = beta[i];
    if (scale_shift) {
      const float scale = 1.0f + static_cast<float>(scale_shift[i]);
      factor[i] *= scale;
      offset[i] = offset[i] * scale + static_cast<float>(scale_shift[channels + i]);
    }
  }
}

/// first(n, chunk) for all chunks, then between(n) for every image, then second(n, chunk) for all chunks.
template <class First, class Between, class Second>
void two_sweeps(const GroupNormShape& shape, First&& first, Between&& between, Second&& second) {
  if (shape.images >= max_threads()) {  // a thread, an image: the second sweep finds it in cache
    parallel_items(shape.images, [&](int64_t n) {
      for (int64_t chunk = 0; chunk < shape.chunks; ++chunk) first(n, chunk);
      between(n);
      for (int64_t chunk = 0; chunk < shape.chunks; ++chunk) second(n, chunk);
    });
    return;
  }
  const int64_t items = shape.images * shape.chunks;
  parallel_items(items, [&](int64_t i) { first(i / shape.chunks, i % shape.chunks); });
  for (int64_t n = 0; n < shape.images; ++n) between(n);
  parallel_items(items, [&](int64_t i) { second(i / shape.chunks, i % shape.chunks); });
}

}  // namespace imago::cpu
