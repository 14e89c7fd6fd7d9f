// Attention among the pixels of an image.
#pragma once

#include <memory>

#include "engine/nn/group_norm.h"
#include "engine/nn/linear.h"

namespace imago {

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
