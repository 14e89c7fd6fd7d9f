// One way to run an operation, and which ways there are.
//
// Where several kernels, or several cuts of the same work, compute one result, a launcher lists them as
// candidates: the first is the rule's, which needs no measuring; autotune.h may find a faster one. All give
// the same sums, in another order. The lists are in the families' *_tiling.h.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace imago::tiling {

enum class Kernel : uint8_t {
  kWgmma256,  // Hopper's convolutions, 256 or 128 lines of the result a block
  kWgmma128,
  kTile128,  // the implicit GEMM, 128 x 128 or 64 x 64 of the result a block
  kTile64,
  kSlab32,  // GroupNorm, about 32 or 64 channels a block
  kSlab64,
};
constexpr std::array<const char*, 6> kKernelNames = {"wgmma_256", "wgmma_128", "tile_128",
                                                     "tile_64",   "slab_32",   "slab_64"};

struct Choice {
  Kernel kernel;
  int parts = 1;  // into which the pixels are cut, where the operation sums over them

  bool operator==(const Choice&) const = default;
  const char* kernel_name() const { return kKernelNames[static_cast<size_t>(kernel)]; }
};

/// Without duplicates, in the order in which they are added.
class Candidates {
 public:
  explicit Candidates(Choice rule) : all_{rule} {}
  void add(Choice c) {
    if (!contains(c)) all_.push_back(c);
  }
  Choice rule() const { return all_.front(); }
  bool contains(Choice c) const { return std::count(all_.begin(), all_.end(), c) > 0; }
  size_t size() const { return all_.size(); }
  Choice operator[](size_t i) const { return all_[i]; }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }

 private:
  std::vector<Choice> all_;
};

/// How many blocks a multiprocessor is given: the cuts that are tried.
constexpr int kBlocksTried[] = {1, 2, 4};

}  // namespace imago::tiling
