// Choices that come with the program, for GPUs on which somebody has measured: as if they had been read from the cache.
//
// How to fill it: run the autotuner on that GPU (any training will do), and paste the cache file's lines
// (docs/cuda_autotuner.md says where it lies) between R"( and )". `gpu` is the file's name up to its last dash:
//
//   inline const std::vector<ShippedChoices> kShippedChoices = {
//       {"nvidia-h100-80gb-hbm3-sm90-132", R"(
//   group_norm bfloat16 N=8 P=1024 Ca=128 Cb=0 G=32 scale_shift=0 vector=1 -> slab_32 x 4 (TIME us, by rule TIME us);
//   )"},
//   };
//
// A choice outlives the build that it was measured with: one that is no candidate any more is ignored.
#pragma once

#include <vector>

namespace imago {

struct ShippedChoices {
  const char* gpu;
  const char* lines;
};

inline const std::vector<ShippedChoices> kShippedChoices = {};  // nothing has been measured yet

}  // namespace imago
