// The U-Net that predicts noise (Ho 2020, appendix B; Ronneberger 2015), as diffusers' UNet2DModel builds it.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "models/unet/blocks.h"
#include "models/unet/config.h"
#include "models/unet/embeddings.h"
#include "models/unet/inputs.h"

namespace imago {

/// Parameters have the names of diffusers, and its shapes but for convolutions, which are [K,R,S,C] here.
/// Give it a FlatParameters before the first forward. The constructor validates the configuration and
/// allocates nothing.
class UNet : public Module {
 public:
  explicit UNet(const UNetConfig& config);

  /// x [N,H,W,in_channels], H and W multiples of config().resolution_multiple(); its type is that of all
  /// activations. timesteps [N] float32, or int32 (required for time_embedding_type "learned").
  /// class_labels, iff config().takes_class_labels(): [N] int32 for a table (num_class_embeds), [N] float32
  /// for "timestep", [N,time_width] float for "identity". Result [N,H,W,out_channels] of x's type.
  Tensor forward(const Tensor& x, const Tensor& timesteps, const Tensor& class_labels = {});

  /// On: blocks keep only their inputs and compute the rest again in backward, about a third more work for a
  /// fraction of the memory. The output has the same bits; gradients too, but for the order in which some are
  /// added. A DropoutScope must then live until backward has run.
  void set_gradient_checkpointing(bool on) { recomputing_ = on; }

  /// From the next forward on, backward calls `complete` with the path of each top-level child
  /// ("up_blocks.1") once, as soon as its gradients have their final values, last layer first: conv_out,
  /// conv_norm_out, the blocks, conv_in, and the embeddings at the end. So a reduction over devices can start
  /// while the rest is computed. Nothing is recorded, and nothing called, for an empty function.
  void on_gradients_complete(std::function<void(const std::string& child)> complete) {
    complete_ = std::move(complete);
  }

  const UNetConfig& config() const { return config_; }
  int64_t parameter_count();

 private:
  void register_modules();
  Tensor embed(const Tensor& timesteps, const Tensor& class_labels, DType dtype);
  static Tensor centered(const Tensor& x);
  /// h, where `children` (the last first) and all layers behind them begin: when backward gets here, they are
  /// complete.
  Tensor marked(const Tensor& h, std::initializer_list<const Module*> children) const;
  std::function<void()> reporting(std::initializer_list<const Module*> children) const;
  void check_inputs(const Tensor& x, const Tensor& timesteps, const Tensor& class_labels) const;

  UNetConfig config_;
  bool recomputing_ = false;
  std::function<void(const std::string&)> complete_;
  std::unique_ptr<Conv2d> conv_in_;
  std::unique_ptr<TimeProjection> time_proj_;
  std::unique_ptr<TimestepEmbedding> time_embedding_;
  std::unique_ptr<ClassEmbedding> class_embedding_;
  std::vector<std::unique_ptr<DownBlock>> down_blocks_;
  std::unique_ptr<MidBlock> mid_block_;
  std::vector<std::unique_ptr<UpBlock>> up_blocks_;
  std::unique_ptr<GroupNorm> conv_norm_out_;
  std::unique_ptr<Conv2d> conv_out_;
};

}  // namespace imago
