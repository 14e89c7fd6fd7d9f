// The layers: parameters plus a forward. Named and initialised as in PyTorch, so that weights move over by
// name.
#pragma once

#include <memory>

#include "engine/nn/module.h"
#include "engine/ops/conv2d.h"

namespace imago {

/// y = x W^T + b. weight [out,in], bias [out]; both start uniform in +-1/sqrt(in).
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out);
  Tensor forward(const Tensor& x, const Tensor& residual = {}, float scale = 1);  // [...,in] -> [...,out]

 private:
  Parameter weight_, bias_;
};

/// weight [out,filter,filter,in], bias [out]; both start uniform in +-1/sqrt(in * filter^2).
class Conv2d : public Module {
 public:
  Conv2d(int64_t in, int64_t out, int filter, const Conv2dGeometry& geometry);
  Conv2d(int64_t in, int64_t out, int filter) : Conv2d(in, out, filter, Conv2dGeometry::same(filter)) {}
  /// What is added besides the bias; all parts may be left out.
  struct Extras {
    Tensor skip = {};            // a second source, concatenated behind x along channels
    Tensor per_image_bias = {};  // [N,out]
    Tensor residual = {};        // [N,Ho,Wo,out]
    float scale = 1;
  };
  Tensor forward(const Tensor& x, const Extras& extras);  // [N,H,W,in] -> [N,Ho,Wo,out]
  Tensor forward(const Tensor& x) { return forward(x, Extras{}); }

 private:
  Conv2dGeometry geometry_;
  Parameter weight_, bias_;
};

/// weight (gamma) [C] starts at one, bias (beta) [C] at zero.
class GroupNorm : public Module {
 public:
  GroupNorm(int groups, int64_t channels, float eps, Activation activation = Activation::kNone);
  /// x [N,...,C], or x and skip as if concatenated; scale_shift [N,2C] or undefined.
  Tensor forward(const Tensor& x, const Tensor& skip = {}, const Tensor& scale_shift = {});

 private:
  GroupNormConfig config_;
  Parameter weight_, bias_;
};

/// weight [rows,width] starts normal(0,1).
class Embedding : public Module {
 public:
  Embedding(int64_t rows, int64_t width);
  Tensor forward(const Tensor& index,
                 DType dtype);  // [N] int32 -> [N,width]; throws where an index is out of range
  int64_t rows() const { return weight_.shape[0]; }

 private:
  Parameter weight_;
};

/// Dropout that is a function of (seed, stream, image, element): the same when a step is computed again.
class Dropout : public Module {
 public:
  Dropout(float p, uint32_t layer) : p_(p), layer_(layer) {}
  Tensor forward(const Tensor& x);  // the identity unless a DropoutScope is alive and p > 0

 private:
  float p_;
  uint32_t layer_;  // numbers the dropout layers of a model: each has its own random numbers
};

/// Training mode: while alive, Dropout layers drop, with these random numbers. ids [N] int64, one per image
/// of the batch.
class DropoutScope {
 public:
  DropoutScope(uint64_t seed, const Tensor& ids);
  DropoutScope(const DropoutScope&) = delete;
  ~DropoutScope();
};

/// 3x3 convolution with stride 2. padding 1: a zero on every side; padding 0: one column right and one row at
/// the bottom.
class Downsample : public Module {
 public:
  Downsample(int64_t channels, int padding);
  Tensor forward(const Tensor& x) { return conv_.forward(x); }  // [N,H,W,C] -> [N,H/2,W/2,C]

 private:
  Conv2d conv_;
};

/// Nearest upsampling by two, then a 3x3 convolution.
class Upsample : public Module {
 public:
  explicit Upsample(int64_t channels);
  Tensor forward(const Tensor& x);  // [N,H,W,C] -> [N,2H,2W,C]

 private:
  Conv2d conv_;
};

/// y = (x + W_o attention(W_q h, W_k h, W_v h)) * scale, h = GN(x) over the pixels of an image. heads =
/// floor(C / head_dim) heads of head_dim channels each (head_dim 0: one head of C), groups 0: no norm.
/// Parameters group_norm, to_q, to_k, to_v, to_out.0.
class SelfAttention : public Module {
 public:
  struct Config {
    int64_t channels;
    int head_dim = 0, groups = 32;
    float eps = 1e-5f, scale = 1;
  };
  explicit SelfAttention(const Config& config);
  Tensor forward(const Tensor& x);  // [N,H,W,C] -> [N,H,W,C]

 private:
  int heads_, head_dim_;
  float scale_;
  std::unique_ptr<GroupNorm> group_norm_;
  std::unique_ptr<Linear> to_q_, to_k_, to_v_, to_out_;
};

}  // namespace imago
