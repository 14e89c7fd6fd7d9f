// A model's weights in a safetensors file, as PyTorch lays them out. Convolutions are [K,C,R,S] in files and
// [K,R,S,C] in memory: the permutation of weights that are trained here happens here and nowhere else.
#pragma once

#include <filesystem>

#include "engine/nn/flat_parameters.h"

namespace imago {

/// Fills `flat` (parameters.values() or an EMA buffer) from a safetensors file with the parameters' names (of
/// a U-Net, diffusers'); F32, F16, BF16 and F64 are converted. The older names of attention weights (query,
/// key, value, proj_attn) are accepted. A tensor that is missing, unexpected or of another shape is bad input
/// that names file and tensor; then nothing was changed. Follow with parameters.refresh_compute() where
/// values changed.
void load_weights(const std::filesystem::path& file, const FlatParameters& parameters, const Tensor& flat);

/// Writes `flat` under the same names and in the same layout as float32, atomically.
void save_weights(const std::filesystem::path& file, const FlatParameters& parameters, const Tensor& flat);

}  // namespace imago
