// Which ways there are to run each operation: what the autotuner measures. Each list begins with the rule's
// choice; only kernels that are there anyway are listed, and cuts that cost no further compilation.
#pragma once

#include "kernels/cuda/convolution/conv2d_tiling.h"
#include "kernels/cuda/norm/group_norm_tiling.h"

namespace imago::tiling {

/// How many blocks a multiprocessor is given: the cuts that are tried.
constexpr int kBlocksTried[] = {1, 2, 4};

/// Pixels of a block of Hopper's kernels, forward and dgrad; 0 for other kernels.
constexpr int wgmma_pixels(Kernel kernel) {
  return kernel == Kernel::kWgmma256 ? 256 : kernel == Kernel::kWgmma128 ? 128 : 0;
}

/// Forward, and one residue class of dgrad: `gemm` is the implicit GEMM by rule; `hopper(pixels)` how
/// Hopper's kernels would cut the output, by rule for 0, if the shape suits them.
template <class Hopper>
Candidates conv2d_candidates(const GemmTiling& gemm, const Hopper& hopper) {
  const auto kernel = [](int pixels) { return pixels == 256 ? Kernel::kWgmma256 : Kernel::kWgmma128; };
  const std::optional<HopperTiling> rule = hopper(0);
  Candidates c({rule ? kernel(rule->pixels) : gemm.kernel()});
  for (int pixels : {256, 128})
    if (hopper(pixels)) c.add({kernel(pixels)});
  if (gemm.vector) c.add({Kernel::kTile128});
  c.add({Kernel::kTile64});
  return c;
}

/// dw [K,columns] from a sum over `pixels`, `step` of them a stage of the implicit GEMM. Of Hopper's kernel
/// there is one, with 128 k's a block.
inline Candidates wgrad_candidates(const GpuLimits& gpu, const std::optional<WgradTiling>& hopper,
                                   bool vector, int64_t k, int64_t columns, int64_t pixels, int step) {
  const int parts = wgrad_parts(gpu, k, columns, pixels, step);
  const Kernel gemm = gemm_tiling(gpu, vector, k, columns, pixels, step, parts).kernel();
  Candidates c(hopper ? Choice{Kernel::kWgmma128, hopper->parts} : Choice{gemm, parts});
  for (const int blocks : kBlocksTried) {
    const auto gemm_parts = [&](int64_t tile) {
      return wgrad_parts_for(gpu, blocks, tile, k, columns, pixels, step);
    };
    if (hopper)
      c.add({Kernel::kWgmma128,
             clamp_parts(ceil_div(blocks * gpu.sms, hopper->tiles), hopper->boxes.count, k * columns)});
    if (vector) c.add({Kernel::kTile128, gemm_parts(LargeTile::kM)});
    c.add({Kernel::kTile64, gemm_parts(SmallTile::kM)});
  }
  return c;
}

/// GroupNorm and its gradient. Operands as for Slabs.
inline Candidates group_norm_candidates(const GpuLimits& gpu, const Shape& x, int64_t second_source,
                                        int groups, int width) {
  const auto cut = [&](Kernel kernel, int blocks) {
    const Slabs whole(x, second_source, groups, width, {kernel});
    return Slabs(x, second_source, groups, width, {kernel, whole.chunks_for(gpu, blocks, x[0])});
  };
  const Slabs rule(gpu, x, second_source, groups, width);
  Candidates c({Kernel::kSlab32, rule.chunks});
  for (const Kernel kernel : {Kernel::kSlab32, Kernel::kSlab64})
    for (const int blocks : kBlocksTried)
      if (const Slabs s = cut(kernel, blocks); kernel == Kernel::kSlab32 || s.slab != rule.slab)
        c.add({kernel, s.chunks});
  return c;
}

}  // namespace imago::tiling
