// From noise to images.
#pragma once

#include <functional>
#include <limits>
#include <vector>

#include "models/diffusion/sampling_plan.h"
#include "models/unet/unet.h"

namespace imago {

/// Classifier-free guidance (Ho & Salimans 2022): the network is asked with and without the class, and m_u +
/// scale (m_c - m_u) is taken; only where low < noise / signal <= high (Kynkaanniemi 2024).
struct Guidance {
  double scale = 1;  // 1: none
  double low = 0, high = std::numeric_limits<double>::infinity();
};

/// Repainting an image (Lugmayr 2022, algorithm 1): after every step, what is known is put in its place at
/// the step's level of noise; and each step is taken `resample` times, going back up in between, for both
/// parts to become one.
struct Inpainting {
  Tensor known = {};  // x_0 [N,H,W,C] float32, or undefined: nothing is known
  Tensor mask = {};   // [N,H,W,C] float32: 1 where it is known, 0 where it is painted
  int resample = 1;
};

struct SampleRequest {
  std::vector<int64_t> ids = {};  // one image each; its random numbers are a function of (seed, id) alone
  uint64_t seed = 0;
  int64_t height = 0, width = 0;  // 0: the model's sample_size
  int batch_size = 16;            // images that go through the network together
  Device device = Device::kCpu;
  DType activations = DType::kFloat32;  // float64: the whole sampling in float64 (reference)
  Tensor initial_noise = {};            // e [N,H,W,C] float32 instead of our own, or undefined
  Tensor initial_image = {};            // x_0 [N,H,W,C] float32 to begin with, at plan.start, or undefined
  Tensor class_labels = {};             // as UNet::forward wants them, for all N images, or undefined
  Guidance guidance = {};               // needs class labels and a model with a null class
  Inpainting inpainting = {};
  /// Called after each network evaluation with how many of all are done. May throw to stop.
  std::function<void(int64_t done, int64_t total)> progress = {};
  /// Called with x [B,H,W,C] of the images from `first` on, at the level `at`: before the first and after
  /// each complete step.
  std::function<void(int64_t first, const Tensor& x, const NoiseLevel& at)> watch = {};
};

/// Carries the plan out under NoGrad with the parameters that the model points at (see FlatParameters::Swap
/// for EMA). Result [N,H,W,C] float32 (float64 for float64 activations) on the device, in about [-1,1], not
/// clamped.
Tensor sample(UNet& model, const SamplingPlan& plan, const SampleRequest& request);

}  // namespace imago
