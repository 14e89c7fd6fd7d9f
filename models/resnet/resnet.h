// A residual network that tells classes of images apart (He 2016), in the form with activations in front (He
// 2016, "Identity Mappings in Deep Residual Networks"), with GroupNorm and SiLU.
#pragma once

#include <memory>
#include <vector>

#include "engine/nn/conv2d.h"
#include "engine/nn/group_norm.h"
#include "engine/nn/linear.h"
#include "models/resnet/config.h"

namespace imago {

/// y = shortcut + conv2(silu(GN2(conv1(a)))), a = silu(GN1(x)). conv1 has the stride; the shortcut is x, or,
/// where stride or channels change, a 1x1 convolution of a.
class PreActivationBlock : public Module {
 public:
  PreActivationBlock(int64_t in, int64_t out, int stride, int groups, float eps);
  Tensor forward(const Tensor& x);  // [N,H,W,in] -> [N,ceil(H/stride),ceil(W/stride),out]

 private:
  GroupNorm norm1_;
  Conv2d conv1_;
  GroupNorm norm2_;
  Conv2d conv2_;
  std::unique_ptr<Conv2d> shortcut_;
};

/// conv_in, levels of blocks (each but the first halves height and width), norm_out with SiLU, the mean over
/// all pixels, and the linear layer `classifier`. Parameters are called conv_in.*,
/// blocks.I.{norm1,conv1,norm2,conv2, shortcut}.*, norm_out.* and classifier.*, blocks counted through all
/// levels. Give it a FlatParameters before the first forward.
class ResNet : public Module {
 public:
  explicit ResNet(const ResNetConfig& config);

  /// What the last layer reads of images [N,H,W,in_channels] in [-1,1]: [N,D], D = config().feature_width().
  Tensor features(const Tensor& images);
  /// The logits of the classes: [N,classes].
  Tensor logits(const Tensor& features);

  const ResNetConfig& config() const { return config_; }

 private:
  ResNetConfig config_;
  Conv2d conv_in_;
  std::vector<std::unique_ptr<PreActivationBlock>> blocks_;
  GroupNorm norm_out_;
  Linear classifier_;
};

}  // namespace imago
