#include "models/resnet/resnet.h"

#include <string>

#include "engine/autograd/observer.h"
#include "engine/ops/pooling.h"

namespace imago {

PreActivationBlock::PreActivationBlock(int64_t in, int64_t out, int stride, int groups, float eps)
    : norm1_(groups, in, eps, Activation::kSilu),
      conv1_(in, out, 3, {stride, 1, 1, 1, 1}),
      norm2_(groups, out, eps, Activation::kSilu),
      conv2_(out, out, 3) {
  add("norm1", norm1_);
  add("conv1", conv1_);
  add("norm2", norm2_);
  add("conv2", conv2_);
  if (in == out && stride == 1) return;
  shortcut_ = std::make_unique<Conv2d>(in, out, 1, Conv2dGeometry{stride, 0, 0, 0, 0});
  add("shortcut", *shortcut_);
}

Tensor PreActivationBlock::forward(const Tensor& x) {
  const LayerScope scope(path());
  const Tensor a = norm1_.forward(x);                             // [N,H,W,C]
  const Tensor h = norm2_.forward(conv1_.forward(a));             // [N,H',W',K]
  const Tensor shortcut = shortcut_ ? shortcut_->forward(a) : x;  // [N,H',W',K]
  return conv2_.forward(h, {.residual = shortcut});               // [N,H',W',K]
}

ResNet::ResNet(const ResNetConfig& c)
    : config_(c),
      conv_in_(c.in_channels, c.block_out_channels.front(), 3),
      norm_out_(c.norm_num_groups, c.feature_width(), static_cast<float>(c.norm_eps), Activation::kSilu),
      classifier_(c.feature_width(), c.classes()) {
  config_.validate("ResNet");
  int64_t in = c.block_out_channels.front();
  for (const int64_t out : c.block_out_channels) {
    for (int i = 0; i < c.layers_per_block; ++i) {
      const int stride = i == 0 && !blocks_.empty() ? 2 : 1;
      blocks_.push_back(std::make_unique<PreActivationBlock>(in, out, stride, c.norm_num_groups,
                                                             static_cast<float>(c.norm_eps)));
      in = out;
    }
  }
  add("conv_in", conv_in_);
  for (size_t i = 0; i < blocks_.size(); ++i) add("blocks." + std::to_string(i), *blocks_[i]);
  add("norm_out", norm_out_);
  add("classifier", classifier_);
  name_paths();
}

Tensor ResNet::features(const Tensor& images) {
  check(images.shape().rank() == 4 && images.dim(3) == config_.in_channels, "ResNet: expected images [N,H,W,",
        config_.in_channels, "], not ", images.shape());
  Tensor h = conv_in_.forward(images);                // [N,H,W,C]
  for (auto& block : blocks_) h = block->forward(h);  // [N,H',W',C']
  return global_avg_pool(norm_out_.forward(h));       // [N,D]
}

Tensor ResNet::logits(const Tensor& features) {
  return classifier_.forward(features);  // [N,classes]
}

}  // namespace imago
