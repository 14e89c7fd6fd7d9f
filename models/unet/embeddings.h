// Time and class, as vectors that every block of the U-Net sees.
#pragma once

#include <memory>

#include "engine/nn/linear.h"
#include "models/unet/config.h"

namespace imago {

/// Features of a time t [N]: positional (Vaswani 2017) [sin(t f), cos(t f)] with f_i = exp(-ln(10000) i /
/// (half - shift)); fourier (Song 2021) [sin, cos](2 pi W ln t) with fixed random W, parameter "weight"
/// [boc0]; learned: a table, parameter "weight" [num_train_timesteps, boc0].
class TimeProjection : public Module {
 public:
  explicit TimeProjection(const UNetConfig& config);
  int64_t width() const { return width_; }
  /// t [N] float32 or int32; result [N,width] of `dtype`.
  Tensor forward(const Tensor& t, DType dtype);

 private:
  Tensor index_of(const Tensor& t) const;

  enum class Kind { kPositional, kFourier, kLearned } kind_;
  int64_t width_;
  int freq_shift_;
  bool cos_first_;
  Parameter weight_;    // fourier, learned
  Tensor frequencies_;  // positional: [width/2] on the device of the last call
};

/// linear_2(silu(linear_1(x))): [N,in] -> [N,width].
class TimestepEmbedding : public Module {
 public:
  TimestepEmbedding(int64_t in, int64_t width);
  Tensor forward(const Tensor& x);

 private:
  Linear linear_1_, linear_2_;
};

/// What class labels add to the time embedding: a table's row, an embedding like that of times, or the labels
/// themselves.
class ClassEmbedding : public Module {
 public:
  ClassEmbedding(const UNetConfig& config, int64_t time_features);
  /// See UNet::forward for the types of labels; result [N,time_width] of `dtype`.
  Tensor forward(const Tensor& labels, TimeProjection& time_proj, DType dtype);

 private:
  Parameter weight_;                             // the table
  std::unique_ptr<Linear> linear_1_, linear_2_;  // "timestep"
};

}  // namespace imago
