// From noise to images.
#pragma once

#include <functional>
#include <vector>

#include "models/diffusion/scheduler.h"
#include "models/unet/unet.h"

namespace imago {

struct SampleRequest {
  std::vector<int64_t> ids = {};  // one image each; its random numbers are a function of (seed, id) alone
  uint64_t seed = 0;
  int64_t height = 0, width = 0;  // 0: the model's sample_size
  int batch_size = 16;            // images that go through the network together
  Device device = Device::kCpu;
  DType activations = DType::kFloat32;  // float64: the whole sampling in float64 (reference)
  Tensor initial_noise = {};            // x_T [N,H,W,C] float32 instead of our own, or undefined
  Tensor class_labels = {};             // as UNet::forward wants them, for all N images, or undefined
  /// Called after each network evaluation with how many of all are done. May throw to stop.
  std::function<void(int64_t done, int64_t total)> progress = {};
};

/// Runs the scheduler's steps under NoGrad with the parameters that the model points at (see
/// FlatParameters::Swap for EMA). Result [N,H,W,C] float32 (float64 for float64 activations) on the device,
/// in about [-1,1], not clamped.
Tensor sample(UNet& model, const Scheduler& scheduler, const SampleRequest& request);

/// round(clamp(x/2 + 1/2) * 255), the pixels that diffusers writes. x [N,H,W,C] float32 or float64 -> N*H*W*C
/// bytes.
std::vector<uint8_t> to_pixels(const Tensor& x);

}  // namespace imago
