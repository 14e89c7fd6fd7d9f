// The residual block of the U-Net (Ho 2020, appendix B; scale_shift as in Dhariwal & Nichol 2021).
#pragma once

#include <memory>

#include "engine/nn/conv2d.h"
#include "engine/nn/dropout.h"
#include "engine/nn/group_norm.h"
#include "engine/nn/linear.h"

namespace imago {

enum class Resample { kNone, kDown, kUp };  // average pooling by two; nearest upsampling by two

/// out = (shortcut(x) + conv2(dropout(silu(GN2(h))))) / output_scale_factor, h = conv1(silu(GN1(x))) + e,
/// e = time_emb_proj(silu(temb)); with scale_shift instead GN2(h) * (1 + scale) + shift, (scale, shift) = e.
/// With resampling, silu(GN1(x)) and x are resampled first. shortcut: a 1x1 convolution where channels
/// change.
class ResnetBlock : public Module {
 public:
  struct Config {
    int64_t in, out, temb;  // channels, and the width of the time embedding
    int groups = 32;
    float eps = 1e-5f, dropout = 0;
    bool scale_shift = false;
    float output_scale_factor = 1;
    uint32_t dropout_layer = 0;  // which random numbers its dropout uses
    Resample resample = Resample::kNone;
  };
  explicit ResnetBlock(const Config& config);

  /// x [N,H,W,C], or x and skip read as if concatenated along channels; act_temb [N,temb] = silu(time
  /// embedding), which all blocks share. Result [N,H',W',out].
  Tensor forward(const Tensor& x, const Tensor& skip, const Tensor& act_temb);

 private:
  Tensor resample(const Tensor& x) const;

  bool scale_shift_;
  float scale_;
  Resample resample_;
  GroupNorm norm1_;
  Conv2d conv1_;
  Linear time_emb_proj_;
  GroupNorm norm2_;
  Dropout dropout_;
  Conv2d conv2_;
  std::unique_ptr<Conv2d> conv_shortcut_;
};

}  // namespace imago
