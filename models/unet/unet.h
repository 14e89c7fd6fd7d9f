// The U-Net that predicts noise (Ho 2020, appendix B; Ronneberger 2015), as diffusers' UNet2DModel builds it.
#pragma once

#include <memory>
#include <vector>

#include "models/unet/blocks.h"
#include "models/unet/config.h"
#include "models/unet/embeddings.h"

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
  void set_gradient_checkpointing(bool on) { checkpointing_ = on; }

  const UNetConfig& config() const { return config_; }
  int64_t parameter_count();

 private:
  void register_modules();
  Tensor embed(const Tensor& timesteps, const Tensor& class_labels, DType dtype);
  void check_inputs(const Tensor& x, const Tensor& timesteps, const Tensor& class_labels) const;

  UNetConfig config_;
  bool checkpointing_ = false;
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

/// The types of timesteps and class labels that the model's embeddings want: float32 for features computed
/// from the number, int32 for rows of a table.
DType timestep_type(const UNetConfig& config);
DType class_label_type(const UNetConfig& config);
/// [N] timesteps on a device, in the type that the model's time embedding wants. Bad input where a learned
/// embedding has no row for one.
Tensor timesteps_tensor(const UNetConfig& config, const std::vector<int>& timesteps, Device device);
/// The same into a tensor of that type that is already there.
void upload_timesteps(const UNetConfig& config, const std::vector<int>& timesteps, const Tensor& t);
/// [N] class labels likewise. Bad input where the model has no such class.
Tensor class_labels_tensor(const UNetConfig& config, const std::vector<int>& labels, Device device);

}  // namespace imago
