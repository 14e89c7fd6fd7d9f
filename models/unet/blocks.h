// The levels of the U-Net: residual blocks, attention where wanted, and resampling between the levels.
#pragma once

#include <memory>
#include <vector>

#include "models/unet/resample.h"
#include "models/unet/resnet_block.h"
#include "models/unet/self_attention.h"

namespace imago {

struct UNetConfig;

/// What all blocks of a model share, and the count of its dropout layers.
struct BlockBuilder {
  explicit BlockBuilder(const UNetConfig& config) : config(config) {}
  std::unique_ptr<ResnetBlock> resnet(int64_t in, int64_t out, Resample resample = Resample::kNone,
                                      double output_scale_factor = 1);
  std::unique_ptr<SelfAttention> attention(int64_t channels, int groups,
                                           double output_scale_factor = 1) const;

  const UNetConfig& config;
  uint32_t dropout_layers = 0;
};

/// DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D: layers_per_block times resnet (and attention), then
/// half the size, except in the last block.
class DownBlock : public Module {
 public:
  DownBlock(BlockBuilder& build, int level);
  /// x [N,H,W,C] -> [N,H/2,W/2,K] (the last: [N,H,W,K]). Every layer's result is pushed to `skips`.
  Tensor forward(Tensor x, const Tensor& act_temb, std::vector<Tensor>& skips, bool recomputing);

 private:
  std::vector<std::unique_ptr<SelfAttention>> attentions_;  // as many as resnets, or none
  std::vector<std::unique_ptr<ResnetBlock>> resnets_;
  std::unique_ptr<Downsample> downsample_;  // one of these two, or none
  std::unique_ptr<ResnetBlock> downsample_resnet_;
};

/// UNetMidBlock2D: resnet, attention, resnet at the lowest resolution.
class MidBlock : public Module {
 public:
  explicit MidBlock(BlockBuilder& build);
  Tensor forward(Tensor x, const Tensor& act_temb, bool recomputing);  // [N,H,W,C] -> [N,H,W,C]

 private:
  std::unique_ptr<SelfAttention> attention_;  // may be absent
  std::unique_ptr<ResnetBlock> resnet_0_, resnet_1_;
};

/// UpBlock2D, AttnUpBlock2D, ResnetUpsampleBlock2D: layers_per_block + 1 times resnet (and attention), each
/// with a skip connection from the way down, then twice the size, except in the last block.
class UpBlock : public Module {
 public:
  UpBlock(BlockBuilder& build, int level);
  /// x [N,H,W,C] -> [N,2H,2W,K] (the last: [N,H,W,K]). Pops one of `skips` for each layer.
  Tensor forward(Tensor x, const Tensor& act_temb, std::vector<Tensor>& skips, bool recomputing);

 private:
  std::vector<std::unique_ptr<SelfAttention>> attentions_;  // as many as resnets, or none
  std::vector<std::unique_ptr<ResnetBlock>> resnets_;
  std::unique_ptr<Upsample> upsample_;  // one of these two, or none
  std::unique_ptr<ResnetBlock> upsample_resnet_;
};

}  // namespace imago
