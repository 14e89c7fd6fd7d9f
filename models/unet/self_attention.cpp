#include "models/unet/self_attention.h"

#include <cmath>

#include "engine/autograd/observer.h"
#include "engine/ops/attention.h"
#include "engine/ops/elementwise.h"

namespace imago {

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
