// Choices that come with the program, for GPUs on which somebody has measured: as if they had been read
// from the cache.
//
// How to fill it: run the autotuner on that GPU (any training will do), and paste the cache file's lines
// between R"( and )"; docs/cuda_autotuner.md says where it lies. `gpu` is what the file's name has between
// "autotune-" and its last dash:
//
//   inline const std::vector<ShippedChoices> kShippedChoices = {
//       {"nvidia-h100-80gb-hbm3-sm90-132", R"(
//   group_norm bfloat16 N=8 P=1024 Ca=128 ... vector=1 -> slab_32 x 4 (TIME us, by rule TIME us);
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
