#include "models/unet/blocks.h"

#include <algorithm>

#include "engine/autograd/observer.h"
#include "engine/autograd/recompute.h"
#include "models/unet/config.h"

namespace imago {
namespace {

// A layer of a block: resnet, then attention if there is one. Recomputing, it keeps its inputs alone.
Tensor run_layer(ResnetBlock* resnet, SelfAttention* attention, const Tensor& x, const Tensor& skip,
                 const Tensor& act_temb, bool recomputing) {
  const auto layer = [=](const std::vector<Tensor>& in) {
    const Tensor h = resnet->forward(in[0], in[1], in[2]);  // [N,H,W,K]
    return attention ? attention->forward(h) : h;           // [N,H,W,K]
  };
  return recomputing ? recompute(layer, {x, skip, act_temb}) : layer({x, skip, act_temb});
}

template <class T>
T* at_or_null(const std::vector<std::unique_ptr<T>>& list, size_t i) {
  return i < list.size() ? list[i].get() : nullptr;
}

}  // namespace

std::unique_ptr<ResnetBlock> BlockBuilder::resnet(int64_t in, int64_t out, Resample resample,
                                                  double output_scale_factor) {
  return std::make_unique<ResnetBlock>(ResnetBlock::Config{
      .in = in,
      .out = out,
      .temb = config.time_width(),
      .groups = config.norm_num_groups,
      .eps = static_cast<float>(config.norm_eps),
      .dropout = static_cast<float>(config.dropout),
      .scale_shift = config.resnet_time_scale_shift == "scale_shift",
      .output_scale_factor = static_cast<float>(output_scale_factor),
      .dropout_layer = dropout_layers++,
      .resample = resample,
  });
}

std::unique_ptr<SelfAttention> BlockBuilder::attention(int64_t channels, int groups,
                                                       double output_scale_factor) const {
  return std::make_unique<SelfAttention>(SelfAttention::Config{
      .channels = channels,
      .head_dim = config.attention_head_dim.value_or(0),
      .groups = groups,
      .eps = static_cast<float>(config.norm_eps),
      .scale = static_cast<float>(1 / output_scale_factor),
  });
}

// ---- Down ----

DownBlock::DownBlock(BlockBuilder& build, int level) {
  const UNetConfig& c = build.config;
  const std::string& type = c.down_block_types[level];
  const int64_t in = c.block_out_channels[level == 0 ? 0 : level - 1], out = c.block_out_channels[level];
  for (int j = 0; j < c.layers_per_block; ++j) {
    resnets_.push_back(build.resnet(j == 0 ? in : out, out));
    if (type == "AttnDownBlock2D") attentions_.push_back(build.attention(out, c.norm_num_groups));
  }
  for (size_t j = 0; j < attentions_.size(); ++j) add("attentions." + std::to_string(j), *attentions_[j]);
  for (size_t j = 0; j < resnets_.size(); ++j) add("resnets." + std::to_string(j), *resnets_[j]);
  if (level + 1 == c.levels()) return;
  const bool by_resnet =
      type == "ResnetDownsampleBlock2D" || (type == "AttnDownBlock2D" && c.downsample_type == "resnet");
  if (by_resnet) {
    downsample_resnet_ = build.resnet(out, out, Resample::kDown);
    add("downsamplers.0", *downsample_resnet_);
  } else {
    downsample_ = std::make_unique<Downsample>(out, c.downsample_padding);
    add("downsamplers.0", *downsample_);
  }
}

Tensor DownBlock::forward(Tensor x, const Tensor& act_temb, std::vector<Tensor>& skips, bool recomputing) {
  const LayerScope scope(path());
  for (size_t j = 0; j < resnets_.size(); ++j) {
    x = run_layer(resnets_[j].get(), at_or_null(attentions_, j), x, {}, act_temb,
                  recomputing);  // [N,H,W,K]
    skips.push_back(x);
  }
  if (!downsample_ && !downsample_resnet_) return x;
  x = downsample_
          ? downsample_->forward(x)
          : run_layer(downsample_resnet_.get(), nullptr, x, {}, act_temb, recomputing);  // [N,H/2,W/2,K]
  skips.push_back(x);
  return x;
}

// ---- Middle ----

MidBlock::MidBlock(BlockBuilder& build) {
  const UNetConfig& c = build.config;
  const int64_t channels = c.block_out_channels.back();
  const double factor = c.mid_block_scale_factor;
  const bool scale_shift = c.resnet_time_scale_shift == "scale_shift";
  const int groups = c.attn_norm_num_groups.value_or(scale_shift ? 0 : c.norm_num_groups);  // 0: no norm
  resnet_0_ = build.resnet(channels, channels, Resample::kNone, factor);
  resnet_1_ = build.resnet(channels, channels, Resample::kNone, factor);
  if (c.add_attention) {
    attention_ = build.attention(channels, groups, factor);
    add("attentions.0", *attention_);
  }
  add("resnets.0", *resnet_0_);
  add("resnets.1", *resnet_1_);
}

Tensor MidBlock::forward(Tensor x, const Tensor& act_temb, bool recomputing) {
  const LayerScope scope(path());
  x = run_layer(resnet_0_.get(), attention_.get(), x, {}, act_temb, recomputing);  // [N,H,W,C]
  return run_layer(resnet_1_.get(), nullptr, x, {}, act_temb, recomputing);        // [N,H,W,C]
}

// ---- Up ----

UpBlock::UpBlock(BlockBuilder& build, int level) {
  const UNetConfig& c = build.config;
  const std::string& type = c.up_block_types[level];
  const auto channels = [&](int i) {  // of the way up: the lowest level first
    const int last = c.levels() - 1;
    return int64_t{c.block_out_channels[last - std::clamp(i, 0, last)]};
  };
  const int64_t previous = channels(level - 1), out = channels(level), in = channels(level + 1);
  const int layers = c.layers_per_block + 1;
  for (int j = 0; j < layers; ++j) {
    const int64_t hidden = j == 0 ? previous : out, skip = j + 1 == layers ? in : out;
    resnets_.push_back(build.resnet(hidden + skip, out));
    if (type == "AttnUpBlock2D") attentions_.push_back(build.attention(out, c.norm_num_groups));
  }
  for (size_t j = 0; j < attentions_.size(); ++j) add("attentions." + std::to_string(j), *attentions_[j]);
  for (size_t j = 0; j < resnets_.size(); ++j) add("resnets." + std::to_string(j), *resnets_[j]);
  if (level + 1 == c.levels()) return;
  if (type == "ResnetUpsampleBlock2D" || (type == "AttnUpBlock2D" && c.upsample_type == "resnet")) {
    upsample_resnet_ = build.resnet(out, out, Resample::kUp);
    add("upsamplers.0", *upsample_resnet_);
  } else {
    upsample_ = std::make_unique<Upsample>(out);
    add("upsamplers.0", *upsample_);
  }
}

Tensor UpBlock::forward(Tensor x, const Tensor& act_temb, std::vector<Tensor>& skips, bool recomputing) {
  const LayerScope scope(path());
  for (size_t j = 0; j < resnets_.size(); ++j) {
    const Tensor skip = std::move(skips.back());  // [N,H,W,S]
    skips.pop_back();
    x = run_layer(resnets_[j].get(), at_or_null(attentions_, j), x, skip, act_temb,
                  recomputing);  // [N,H,W,K]
  }
  if (upsample_) return upsample_->forward(x);                                      // [N,2H,2W,K]
  if (!upsample_resnet_) return x;                                                  // [N,H,W,K]
  return run_layer(upsample_resnet_.get(), nullptr, x, {}, act_temb, recomputing);  // [N,2H,2W,K]
}

}  // namespace imago
