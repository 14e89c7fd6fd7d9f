// Random numbers by the block: a few thousand at a time into a buffer in cache, where the operation that
// wants them reads them as vectors. The numbers themselves are kernels/philox.h's, bit for bit.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/philox.h"

namespace imago::cpu {

enum class Distribution { kUniform, kNormal };

inline constexpr int64_t kRandomBlock = 2048;  // elements; a multiple of a quad and of a vector

/// out[i] = the number of element `first + i` of image `id`, for i < count. `first` is a multiple of 4; out
/// has room for count rounded up to whole vectors.
template <Distribution kind>
inline void random_block(uint64_t seed, uint32_t stream, int64_t id, int64_t first, int64_t count,
                         float* out) {
  const uint32_t quad = static_cast<uint32_t>(first >> 2);
  const int64_t quads = ceil_div(count, 4);
  for (int64_t i = 0; i < quads; ++i) {
    const uint32_t index = quad + static_cast<uint32_t>(i);
    const FloatQuad f = kind == Distribution::kUniform ? uniform_quad(seed, stream, id, index)
                                                       : normal_quad(seed, stream, id, index);
    out[4 * i + 0] = f.v0;
    out[4 * i + 1] = f.v1;
    out[4 * i + 2] = f.v2;
    out[4 * i + 3] = f.v3;
  }
}

/// f(n, first, count, numbers) for blocks of a batch of `images` x `elements`, in parallel:
/// numbers[i] belongs to element first + i of the whole batch, all of image n. Reading whole vectors
/// of `numbers` is allowed.
template <Distribution kind, class F>
void for_each_random_block(const RandomKey& key, int64_t images, int64_t elements, F&& f) {
  const int64_t blocks = ceil_div(elements, kRandomBlock);  // an image
  parallel_chunks(images * blocks, 1, [&](int64_t item, int64_t) {
    alignas(64) float numbers[kRandomBlock];
    const int64_t n = item / blocks, first = item % blocks * kRandomBlock;
    const int64_t count = std::min(kRandomBlock, elements - first);
    random_block<kind>(key.seed, key.stream, key.ids.as<int64_t>()[n], first, count, numbers);
    f(n, n * elements + first, count, numbers);
  });
}

}  // namespace imago::cpu
