#include "models/unet/unet.h"

#include "engine/autograd/gradient_mark.h"
#include "engine/ops/elementwise.h"
#include "models/unet/fourier.h"

namespace imago {

// ---- Forward ----

Tensor UNet::forward(const Tensor& x, const Tensor& timesteps, const Tensor& class_labels) {
  check_inputs(x, timesteps, class_labels);
  const Tensor act_temb = embed(timesteps, class_labels, x.dtype());            // [N,E]
  Tensor h = conv_in_->forward(config_.center_input_sample ? centered(x) : x);  // [N,H,W,C]
  std::vector<Tensor> skips = {h};
  for (auto& block : down_blocks_)
    h = block->forward(marked(h, {block.get()}), act_temb, skips, recomputing_);  // [N,H',W',C']
  if (mid_block_)
    h = mid_block_->forward(marked(h, {mid_block_.get()}), act_temb, recomputing_);  // [N,H',W',C']
  for (auto& block : up_blocks_)
    h = block->forward(marked(h, {block.get()}), act_temb, skips, recomputing_);        // [N,H,W,C]
  h = conv_norm_out_->forward(marked(h, {conv_out_.get(), conv_norm_out_.get()}));      // [N,H,W,C]
  h = conv_out_->forward(h);                                                            // [N,H,W,out]
  return config_.time_embedding_type == "fourier" ? divided_by_time(h, timesteps) : h;  // [N,H,W,out]
}

// What every block needs of time and class, past its common SiLU.
Tensor UNet::embed(const Tensor& timesteps, const Tensor& class_labels, DType dtype) {
  Tensor temb = time_embedding_->forward(time_proj_->forward(timesteps, dtype));  // [N,E]
  if (class_embedding_)
    temb = imago::add(temb, class_embedding_->forward(class_labels, *time_proj_, dtype));  // [N,E]
  const Tensor act_temb = silu(temb);                                                      // [N,E]
  if (!complete_) return act_temb;
  const auto embeddings = reporting({class_embedding_.get(), time_embedding_.get(), time_proj_.get()});
  return marked(gradient_end(act_temb, embeddings), {conv_in_.get()});  // [N,E]
}

Tensor UNet::centered(const Tensor& x) {  // 2x - 1
  const Tensor ones = empty_like(x);
  fill(ones, 1);
  return imago::add(x, ones, 2, -1);
}

// ---- Complete gradients ----

std::function<void()> UNet::reporting(std::initializer_list<const Module*> children) const {
  std::vector<std::string> names;
  for (const Module* child : children)
    if (child) names.push_back(child->path());
  return [complete = complete_, names] {
    for (const std::string& name : names) complete(name);
  };
}

Tensor UNet::marked(const Tensor& h, std::initializer_list<const Module*> children) const {
  return complete_ ? gradient_mark(h, reporting(children)) : h;
}

// ---- Construction ----

UNet::UNet(const UNetConfig& config) : config_(config) {
  config_.validate("the U-Net's configuration");
  const int64_t first = config_.block_out_channels[0];
  BlockBuilder build(config_);
  conv_in_ = std::make_unique<Conv2d>(config_.in_channels, first, 3);
  time_proj_ = std::make_unique<TimeProjection>(config_);
  time_embedding_ = std::make_unique<TimestepEmbedding>(time_proj_->width(), config_.time_width());
  if (config_.takes_class_labels())
    class_embedding_ = std::make_unique<ClassEmbedding>(config_, time_proj_->width());
  for (int i = 0; i < config_.levels(); ++i) down_blocks_.push_back(std::make_unique<DownBlock>(build, i));
  if (config_.mid_block_type) mid_block_ = std::make_unique<MidBlock>(build);
  for (int i = 0; i < config_.levels(); ++i) up_blocks_.push_back(std::make_unique<UpBlock>(build, i));
  conv_norm_out_ = std::make_unique<GroupNorm>(config_.norm_num_groups, first,
                                               static_cast<float>(config_.norm_eps), Activation::kSilu);
  conv_out_ = std::make_unique<Conv2d>(first, config_.out_channels, 3);
  register_modules();
}

// In the order of diffusers' state_dict.
void UNet::register_modules() {
  add("conv_in", *conv_in_);
  add("time_proj", *time_proj_);
  add("time_embedding", *time_embedding_);
  if (class_embedding_) add("class_embedding", *class_embedding_);
  for (size_t i = 0; i < down_blocks_.size(); ++i) add("down_blocks." + std::to_string(i), *down_blocks_[i]);
  for (size_t i = 0; i < up_blocks_.size(); ++i) add("up_blocks." + std::to_string(i), *up_blocks_[i]);
  if (mid_block_) add("mid_block", *mid_block_);
  add("conv_norm_out", *conv_norm_out_);
  add("conv_out", *conv_out_);
  name_paths();
}

int64_t UNet::parameter_count() {
  int64_t count = 0;
  for_each_parameter([&](const std::string&, Parameter& p) { count += p.shape.numel(); });
  return count;
}

// ---- Checks ----

void UNet::check_inputs(const Tensor& x, const Tensor& timesteps, const Tensor& class_labels) const {
  check(x.shape().rank() == 4 && x.dim(3) == config_.in_channels, "UNet: expected images [N,H,W,",
        config_.in_channels, "], not ", x.shape());
  config_.check_resolution(x.dim(1), x.dim(2), "the U-Net's input");
  check(timesteps.shape() == Shape{x.dim(0)}, "UNet: expected one timestep for each of ", x.dim(0),
        " images, not ", timesteps.shape());
  check(class_labels.defined() == config_.takes_class_labels(),
        config_.takes_class_labels() ? "UNet: this model is conditioned on classes and needs class labels"
                                     : "UNet: class labels for a model that knows no classes");
  if (class_labels)
    check(class_labels.dim(0) == x.dim(0), "UNet: expected one class label for each of ", x.dim(0),
          " images, not ", class_labels.shape());
}

}  // namespace imago
