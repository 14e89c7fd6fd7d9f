// TMA: boxes of tensors of 1 to 5 dimensions, hanging over every edge, in every swizzle.
#include <numeric>

#include "tests/lab/cuda_on_cpu/ptx_cases.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

/// A box of a tensor, both innermost first.
struct Box {
  const char* name;
  int rank;
  int extents[5];
  int box[5];
  int at[5];
  int element_bytes;
  TensorMapSwizzle swizzle;

  int bytes() const {
    int n = element_bytes;
    for (int i = 0; i < rank; ++i) n *= box[i];
    return n;
  }
  size_t elements() const {
    size_t n = 1;
    for (int i = 0; i < rank; ++i) n *= static_cast<size_t>(extents[i]);
    return n;
  }
  TensorMap map(const void* p) const {
    TensorMapSpec spec{.rank = rank, .element_bytes = element_bytes, .swizzle = swizzle};
    for (int i = 0; i < rank; ++i)
      spec.extents[i] = static_cast<uint64_t>(extents[i]), spec.box[i] = static_cast<uint32_t>(box[i]);
    return make_tensor_map(p, spec);
  }
};

/// Where byte i of a box goes: in rows of one swizzle span, 16-byte chunks are exchanged in a pattern of 8
/// x 128 bytes.
int swizzled_byte(int i, TensorMapSwizzle swizzle) {
  const int span = 16 << static_cast<int>(swizzle);
  if (swizzle == TensorMapSwizzle::kNone) return i;
  const int row = i / span, chunk = i % span / 16, chunks = span / 16;
  const int rows_of_128 = row * span / 128;  // how many 128-byte lines lie before
  return row * span + (chunk ^ (rows_of_128 % 8 % chunks)) * 16 + i % 16;
}

/// Calls f(byte in the box, index of the element or -1 outside of the tensor) for the first byte
/// of each element.
template <class F>
void for_each_element(const Box& b, F f) {
  const int n = b.bytes() / b.element_bytes;
  for (int e = 0; e < n; ++e) {
    int rest = e;
    int64_t index = 0, pitch = 1;
    bool inside = true;
    for (int d = 0; d < b.rank; ++d) {
      const int c = b.at[d] + rest % b.box[d];
      rest /= b.box[d];
      inside = inside && c >= 0 && c < b.extents[d];
      index += pitch * c, pitch *= b.extents[d];
    }
    f(e * b.element_bytes, inside ? index : -1);
  }
}

struct Coordinates {
  int c[5];
};

template <int kRank>
__global__ void load_box(const __grid_constant__ TensorMap map, Coordinates at, int bytes, uint32_t* out) {
#if IMAGO_HAS_TMA
  IMAGO_DYNAMIC_SHARED(tile);
  IMAGO_SHARED(uint64_t, barrier, [1]);
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&map);
    ptx::mbarrier_init(barrier, 1);
    ptx::fence_mbarrier_init();
    int c[kRank];
    for (int i = 0; i < kRank; ++i) c[i] = at.c[i];
    ptx::tma_load(tile, &map, barrier, c);
    ptx::mbarrier_arrive_expect_tx(barrier, static_cast<unsigned>(bytes));
  }
  __syncthreads();
  ptx::mbarrier_wait(barrier, 0);
  for (int i = static_cast<int>(threadIdx.x); i < bytes / 4; i += 64)
    out[i] = reinterpret_cast<const uint32_t*>(tile)[i];
#endif
}

template <int kRank>
__global__ void store_box(const __grid_constant__ TensorMap map, Coordinates at, int bytes) {
#if IMAGO_HAS_TMA
  IMAGO_DYNAMIC_SHARED(tile);
  for (int i = static_cast<int>(threadIdx.x); i < bytes / 4; i += 64)
    reinterpret_cast<uint32_t*>(tile)[i] = static_cast<uint32_t>(i) * 2654435761u;
  ptx::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    int c[kRank];
    for (int i = 0; i < kRank; ++i) c[i] = at.c[i];
    ptx::tma_store(&map, tile, c);
    ptx::bulk_commit();
    ptx::bulk_wait<0>();
  }
#endif
}

Words tensor_words(const Box& b) {  // every 16-bit half different, as far as 16 bits go
  Words w((b.elements() * static_cast<size_t>(b.element_bytes) + 3) / 4);
  for (uint32_t i = 0; i < w.size(); ++i) w[i] = (2 * i + 1) % 65521 | (2 * i + 2) % 65521 << 16;
  return w;
}

template <int kRank>
PtxCase load_case(const Box& b) {
  return {std::string("tma_load ") + b.name, 90,
          [b] {
            const Words tensor = tensor_words(b);
            DeviceArray<uint32_t> in(tensor), out(static_cast<size_t>(b.bytes() / 4));
            Coordinates at{{b.at[0], b.at[1], b.at[2], b.at[3], b.at[4]}};
            launch(load_box<kRank>, {.grid = 1, .block = 64, .shared_bytes = static_cast<size_t>(b.bytes())},
                   b.map(in.get()), at, b.bytes(), out.get());
            return out.download();
          },
          [b] {
            const Words tensor = tensor_words(b);
            Words out(static_cast<size_t>(b.bytes() / 4), 0);
            for_each_element(b, [&](int byte, int64_t index) {
              if (index < 0) return;
              std::memcpy(reinterpret_cast<char*>(out.data()) + swizzled_byte(byte, b.swizzle),
                          reinterpret_cast<const char*>(tensor.data()) + index * b.element_bytes,
                          static_cast<size_t>(b.element_bytes));
            });
            return out;
          }};
}

template <int kRank>
PtxCase store_case(const Box& b) {
  return {std::string("tma_store ") + b.name, 90,
          [b] {
            DeviceArray<uint32_t> out(tensor_words(b));
            Coordinates at{{b.at[0], b.at[1], b.at[2], b.at[3], b.at[4]}};
            launch(store_box<kRank>, {.grid = 1, .block = 64, .shared_bytes = static_cast<size_t>(b.bytes())},
                   b.map(out.get()), at, b.bytes());
            return out.download();
          },
          [b] {
            Words out = tensor_words(b), tile(static_cast<size_t>(b.bytes() / 4));
            for (uint32_t i = 0; i < tile.size(); ++i) tile[i] = i * 2654435761u;
            for_each_element(b, [&](int byte, int64_t index) {
              if (index < 0) return;
              std::memcpy(reinterpret_cast<char*>(out.data()) + index * b.element_bytes,
                          reinterpret_cast<const char*>(tile.data()) + swizzled_byte(byte, b.swizzle),
                          static_cast<size_t>(b.element_bytes));
            });
            return out;
          }};
}

template <int kRank>
void add(std::vector<PtxCase>& cases, const Box& b) {
  cases.push_back(load_case<kRank>(b));
  cases.push_back(store_case<kRank>(b));
}

}  // namespace

std::vector<PtxCase> tma_cases() {
  using S = TensorMapSwizzle;
  std::vector<PtxCase> cases;
  add<1>(cases, {"1d inside", 1, {256}, {64}, {128}, 2, S::kNone});
  add<1>(cases, {"1d over the end", 1, {200}, {64}, {152}, 4, S::kNone});
  add<2>(cases, {"2d, 128-byte swizzle", 2, {128, 40}, {64, 24}, {64, 8}, 2, S::k128B});
  add<2>(cases, {"2d over both ends, 128-byte swizzle", 2, {104, 40}, {64, 24}, {64, 24}, 2, S::k128B});
  add<2>(cases, {"2d over both starts, 64-byte swizzle", 2, {64, 40}, {32, 24}, {-8, -5}, 2, S::k64B});
  add<2>(cases, {"2d float32, 32-byte swizzle", 2, {32, 40}, {8, 24}, {28, 30}, 4, S::k32B});
  add<2>(cases, {"2d outside altogether", 2, {64, 8}, {64, 8}, {64, 0}, 2, S::k128B});
  add<3>(cases, {"3d", 3, {64, 6, 5}, {64, 3, 4}, {0, -1, 3}, 2, S::k128B});
  add<4>(cases, {"4d, a convolution's halo", 4, {64, 8, 8, 2}, {64, 8, 4, 1}, {0, -1, 6, 1}, 2, S::k128B});
  add<4>(cases, {"4d, no swizzle", 4, {24, 5, 4, 3}, {16, 3, 2, 2}, {12, -1, 3, 2}, 2, S::kNone});
  add<5>(cases, {"5d", 5, {32, 3, 4, 3, 2}, {32, 2, 2, 2, 2}, {0, 2, -1, 1, 1}, 2, S::k64B});
  return cases;
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
