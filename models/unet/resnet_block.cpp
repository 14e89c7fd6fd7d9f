#include "models/unet/resnet_block.h"

#include "engine/autograd/observer.h"
#include "engine/ops/resample.h"

namespace imago {

ResnetBlock::ResnetBlock(const Config& c)
    : scale_shift_(c.scale_shift),
      scale_(1 / c.output_scale_factor),
      resample_(c.resample),
      norm1_(c.groups, c.in, c.eps, Activation::kSilu),
      conv1_(c.in, c.out, 3),
      time_emb_proj_(c.temb, c.scale_shift ? 2 * c.out : c.out),
      norm2_(c.groups, c.out, c.eps, Activation::kSilu),
      dropout_(c.dropout, c.dropout_layer),
      conv2_(c.out, c.out, 3) {
  add("norm1", norm1_);
  add("conv1", conv1_);
  add("time_emb_proj", time_emb_proj_);
  add("norm2", norm2_);
  add("dropout", dropout_);
  add("conv2", conv2_);
  if (c.in == c.out) return;
  conv_shortcut_ = std::make_unique<Conv2d>(c.in, c.out, 1);
  add("conv_shortcut", *conv_shortcut_);
}

Tensor ResnetBlock::resample(const Tensor& x) const {
  if (resample_ == Resample::kDown) return avg_pool2x(x);  // [N,H/2,W/2,C]
  if (resample_ == Resample::kUp) return upsample2x(x);    // [N,2H,2W,C]
  return x;
}

Tensor ResnetBlock::forward(const Tensor& x_in, const Tensor& skip, const Tensor& act_temb) {
  const LayerScope scope(path());
  const Tensor x = resample(x_in);                    // [N,H,W,C]
  const Tensor e = time_emb_proj_.forward(act_temb);  // [N,K], or [N,2K]: scale and shift
  Tensor h = resample(norm1_.forward(x_in, skip));    // [N,H,W,C]
  h = conv1_.forward(h, {.per_image_bias = scale_shift_ ? Tensor() : e});                   // [N,H,W,K]
  h = norm2_.forward(h, {}, scale_shift_ ? e : Tensor());                                   // [N,H,W,K]
  h = dropout_.forward(h);                                                                  // [N,H,W,K]
  const Tensor shortcut = conv_shortcut_ ? conv_shortcut_->forward(x, {.skip = skip}) : x;  // [N,H,W,K]
  return conv2_.forward(h, {.residual = shortcut, .scale = scale_});                        // [N,H,W,K]
}

}  // namespace imago
