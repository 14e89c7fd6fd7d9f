#include "engine/nn/layers.h"

#include <cmath>

#include "engine/autograd/observer.h"
#include "engine/ops/attention.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/embedding.h"
#include "engine/ops/group_norm.h"
#include "engine/ops/resample.h"
#include "engine/random/streams.h"

namespace imago {

namespace {

/// PyTorch's start for Linear and Conv2d, kaiming_uniform(a = sqrt(5)): uniform in +-1/sqrt(fan_in) (He
/// 2015).
Init uniform_fan_in(int64_t fan_in) {
  return Init::uniform(1 / std::sqrt(static_cast<double>(fan_in)));
}

thread_local uint64_t dropout_seed = 0;
thread_local const Tensor* dropout_ids = nullptr;  // null: evaluation

}  // namespace

// ---- Linear ----

Linear::Linear(int64_t in, int64_t out)
    : weight_({out, in}, uniform_fan_in(in)), bias_({out}, uniform_fan_in(in)) {
  add("weight", weight_);
  add("bias", bias_);
}

Tensor Linear::forward(const Tensor& x, const Tensor& residual, float scale) {
  const LayerScope scope(path());
  return linear(x, weight_, &bias_, residual, scale);
}

// ---- Conv2d ----

Conv2d::Conv2d(int64_t in, int64_t out, int filter, const Conv2dGeometry& geometry)
    : geometry_(geometry),
      weight_({out, filter, filter, in}, uniform_fan_in(in * filter * filter)),
      bias_({out}, uniform_fan_in(in * filter * filter)) {
  add("weight", weight_);
  add("bias", bias_);
}

Tensor Conv2d::forward(const Tensor& x, const Extras& extras) {
  const LayerScope scope(path());
  return conv2d(x, extras.skip, weight_, &bias_,
                {geometry_, extras.per_image_bias, extras.residual, extras.scale});
}

// ---- GroupNorm ----

GroupNorm::GroupNorm(int groups, int64_t channels, float eps, Activation activation)
    : config_{groups, eps, activation},
      weight_({channels}, Init::constant(1)),
      bias_({channels}, Init::constant(0)) {
  add("weight", weight_);
  add("bias", bias_);
}

Tensor GroupNorm::forward(const Tensor& x, const Tensor& skip, const Tensor& scale_shift) {
  const LayerScope scope(path());
  return group_norm(x, skip, weight_, bias_, scale_shift, config_);
}

// ---- Embedding ----

Embedding::Embedding(int64_t rows, int64_t width) : weight_({rows, width}, Init::normal(1)) {
  add("weight", weight_);
}

Tensor Embedding::forward(const Tensor& index, DType dtype) {
  const LayerScope scope(path());
  return embedding(weight_, index, dtype);
}

// ---- Dropout ----

DropoutScope::DropoutScope(uint64_t seed, const Tensor& ids) {
  dropout_seed = seed;
  dropout_ids = &ids;
}

DropoutScope::~DropoutScope() {
  dropout_ids = nullptr;
}

Tensor Dropout::forward(const Tensor& x) {
  if (!dropout_ids || p_ == 0) return x;
  const LayerScope scope(path());
  return dropout(x, p_, dropout_seed, random_stream(Purpose::kDropout, layer_), *dropout_ids);
}

// ---- Resampling ----

Downsample::Downsample(int64_t channels, int padding)
    : conv_(channels, channels, 3,
            padding == 0 ? Conv2dGeometry{2, 0, 0, 1, 1}
                         : Conv2dGeometry{2, padding, padding, padding, padding}) {
  add("conv", conv_);
}

Upsample::Upsample(int64_t channels) : conv_(channels, channels, 3) {
  add("conv", conv_);
}

Tensor Upsample::forward(const Tensor& x) {
  const LayerScope scope(path());
  return conv_.forward(upsample2x(x));
}

// ---- SelfAttention ----

SelfAttention::SelfAttention(const Config& c)
    : heads_(c.head_dim ? static_cast<int>(c.channels / c.head_dim) : 1),
      head_dim_(c.head_dim ? c.head_dim : static_cast<int>(c.channels)),
      scale_(c.scale) {
  const int64_t inner = int64_t{heads_} * head_dim_;
  if (c.groups) group_norm_ = std::make_unique<GroupNorm>(c.groups, c.channels, c.eps);
  to_q_ = std::make_unique<Linear>(c.channels, inner);
  to_k_ = std::make_unique<Linear>(c.channels, inner);
  to_v_ = std::make_unique<Linear>(c.channels, inner);
  to_out_ = std::make_unique<Linear>(inner, c.channels);
  if (group_norm_) add("group_norm", *group_norm_);
  add("to_q", *to_q_);
  add("to_k", *to_k_);
  add("to_v", *to_v_);
  add("to_out.0", *to_out_);
}

Tensor SelfAttention::forward(const Tensor& x) {
  const LayerScope scope(path());
  const Tensor tokens = reshape(x, {x.dim(0), x.dim(1) * x.dim(2), x.dim(3)});  // [N,T,C]
  const Tensor h = group_norm_ ? group_norm_->forward(tokens) : tokens;         // [N,T,C]
  const float scale = 1 / std::sqrt(static_cast<float>(head_dim_));
  const Tensor mixed =
      attention(to_q_->forward(h), to_k_->forward(h), to_v_->forward(h), heads_, scale);  // [N,T,heads*D]
  return reshape(to_out_->forward(mixed, tokens, scale_), x.shape());                     // [N,H,W,C]
}

}  // namespace imago
