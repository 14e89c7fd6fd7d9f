// Times and class labels on a device, as a U-Net wants them.
#pragma once

#include <vector>

#include "engine/tensor/tensor.h"
#include "models/unet/config.h"

namespace imago {

/// The types of timesteps and class labels that the model's embeddings want: float32 for features computed
/// from the number, int32 for rows of a table.
DType timestep_type(const UNetConfig& config);
DType class_label_type(const UNetConfig& config);

/// [N] timesteps on a device, in the type that the model's time embedding wants. Bad input where a learned
/// embedding has no row for one.
Tensor timesteps_tensor(const UNetConfig& config, const std::vector<int>& timesteps, Device device);
/// One time for all, which may lie between whole ones, into a tensor of that type that is already there. Bad
/// input, too, where a learned embedding is given no whole number.
void upload_time(const UNetConfig& config, float time, const Tensor& t);

/// [N] class labels likewise. Bad input where the model has no such class.
Tensor class_labels_tensor(const UNetConfig& config, const std::vector<int>& labels, Device device);

/// [N] float32 or int32 -> host.
std::vector<float> host_floats(const Tensor& t);

}  // namespace imago
