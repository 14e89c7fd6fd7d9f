#include "models/unet/embeddings.h"

#include <cmath>

#include "engine/autograd/observer.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/embedding.h"
#include "models/unet/fourier.h"
#include "models/unet/inputs.h"

namespace imago {
namespace {

// f_i = exp(-ln(10000) i / (half - shift)), in float32 and in diffusers' order: sin(t f) at t = 999 shows
// every bit of f.
std::vector<float> positional_frequencies(int64_t half, int shift) {
  std::vector<float> f(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(-std::log(10000.0)) * static_cast<float>(i);
    f[i] = static_cast<float>(std::exp(static_cast<double>(exponent / static_cast<float>(half - shift))));
  }
  return f;
}

}  // namespace

TimeProjection::TimeProjection(const UNetConfig& config)
    : kind_(config.time_embedding_type == "positional" ? Kind::kPositional
            : config.time_embedding_type == "fourier"  ? Kind::kFourier
                                                       : Kind::kLearned),
      width_(config.block_out_channels[0]),
      freq_shift_(config.freq_shift),
      cos_first_(config.flip_sin_to_cos) {
  if (kind_ == Kind::kFourier) weight_ = Parameter({width_}, Init::normal(16), /*trainable=*/false);
  if (kind_ == Kind::kLearned) weight_ = Parameter({*config.num_train_timesteps, width_}, Init::normal(1));
  if (kind_ != Kind::kPositional) add("weight", weight_);
  if (kind_ == Kind::kFourier) width_ *= 2;
}

Tensor TimeProjection::forward(const Tensor& t, DType dtype) {  // t [N]
  const LayerScope scope(path());
  if (kind_ == Kind::kLearned) return embedding(weight_, index_of(t), dtype);     // [N,width]
  if (kind_ == Kind::kFourier) return fourier_features(t, weight_.value, dtype);  // [N,width]
  if (!frequencies_ || frequencies_.device() != t.device())
    frequencies_ = from_vector(positional_frequencies(width_ / 2, freq_shift_), {width_ / 2}, t.device());
  const bool ready = t.dtype() == DType::kFloat32;
  const Tensor times = ready ? t : from_vector(host_floats(t), t.shape(), t.device());  // [N]
  return sinusoid(times, frequencies_, width_, cos_first_, dtype);                      // [N,width]
}

Tensor TimeProjection::index_of(const Tensor& t) const {
  if (t.dtype() == DType::kInt32) return t;  // [N]
  std::vector<int32_t> index;
  for (float value : host_floats(t)) index.push_back(static_cast<int32_t>(std::lround(value)));
  return from_vector(index, t.shape(), t.device());  // [N]
}

TimestepEmbedding::TimestepEmbedding(int64_t in, int64_t width)
    : linear_1_(in, width), linear_2_(width, width) {
  add("linear_1", linear_1_);
  add("linear_2", linear_2_);
}

Tensor TimestepEmbedding::forward(const Tensor& x) {     // [N,in]
  return linear_2_.forward(silu(linear_1_.forward(x)));  // [N,width]
}

ClassEmbedding::ClassEmbedding(const UNetConfig& config, int64_t time_features) {
  const int64_t width = config.time_width();
  if (!config.class_embed_type) {
    weight_ = Parameter({config.num_class_embeds.value(), width}, Init::normal(1));
    add("weight", weight_);
  } else if (*config.class_embed_type == "timestep") {
    linear_1_ = std::make_unique<Linear>(time_features, width);
    linear_2_ = std::make_unique<Linear>(width, width);
    add("linear_1", *linear_1_);
    add("linear_2", *linear_2_);
  }  // else "identity": the labels are the embedding
}

Tensor ClassEmbedding::forward(const Tensor& labels, TimeProjection& time_proj, DType dtype) {
  const LayerScope scope(path());
  if (weight_.shape.rank() == 2) return embedding(weight_, labels, dtype);  // [N,E]
  if (!linear_1_) return cast(labels, dtype);                               // [N,E]
  const Tensor features = time_proj.forward(labels, dtype);                 // [N,time features]
  return linear_2_->forward(silu(linear_1_->forward(features)));            // [N,E]
}

}  // namespace imago
