#include "models/unet/unet.h"

#include <cmath>

#include "engine/ops/elementwise.h"

namespace imago {
namespace {

Tensor centered(const Tensor& x) {  // 2x - 1
  Tensor ones = empty_like(x);
  fill(ones, 1);
  return add(x, ones, 2, -1);
}

// y[n] = x[n] factor[n], image by image; its own backward.
Tensor scale_each(const Tensor& x, const std::vector<float>& factor) {
  const auto apply = [factor](const Tensor& in) {
    const Shape image{in.dim(1), in.dim(2), in.dim(3)};
    Tensor out = empty_like(in);
    for (int64_t n = 0; n < in.dim(0); ++n) {
      const Tensor from = in.slice(n * image.numel(), image), to = out.slice(n * image.numel(), image);
      backend_of(in).add(from, factor[n], from, 0, to);
    }
    return out;
  };
  return record("scale_each", apply(x), {x}, [apply](const Tensor& dy) { return Gradients{apply(dy)}; });
}

// A fourier model's times are noise levels, and its output is the score times that level (Song 2021).
Tensor divided_by_time(const Tensor& h, const Tensor& timesteps) {
  std::vector<float> factor = host_floats(timesteps);
  for (float& t : factor) t = 1 / t;
  return scale_each(h, factor);
}

}  // namespace

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

void UNet::check_inputs(const Tensor& x, const Tensor& timesteps, const Tensor& class_labels) const {
  check(x.shape().rank() == 4 && x.dim(3) == config_.in_channels, "UNet: expected images [N,H,W,",
        config_.in_channels, "], not ", x.shape().to_string());
  config_.check_resolution(x.dim(1), x.dim(2), "the U-Net's input");
  check(timesteps.shape() == Shape{x.dim(0)}, "UNet: expected one timestep for each of ", x.dim(0),
        " images, not ", timesteps.shape().to_string());
  check(class_labels.defined() == config_.takes_class_labels(),
        config_.takes_class_labels() ? "UNet: this model is conditioned on classes and needs class labels"
                                     : "UNet: class labels for a model that knows no classes");
  check(!class_labels || class_labels.dim(0) == x.dim(0), "UNet: expected one class label for each of ",
        x.dim(0), " images, not ", class_labels ? class_labels.shape().to_string() : "");
}

// What every block needs of time and class, past its common SiLU.
Tensor UNet::embed(const Tensor& timesteps, const Tensor& class_labels, DType dtype) {
  Tensor temb = time_embedding_->forward(time_proj_->forward(timesteps, dtype));  // [N,E]
  if (class_embedding_)
    temb = imago::add(temb, class_embedding_->forward(class_labels, *time_proj_, dtype));  // [N,E]
  return silu(temb);                                                                       // [N,E]
}

Tensor UNet::forward(const Tensor& x, const Tensor& timesteps, const Tensor& class_labels) {
  check_inputs(x, timesteps, class_labels);
  const bool checkpointing = checkpointing_ && grad_enabled();
  const Tensor act_temb = embed(timesteps, class_labels, x.dtype());            // [N,E]
  Tensor h = conv_in_->forward(config_.center_input_sample ? centered(x) : x);  // [N,H,W,C]
  std::vector<Tensor> skips = {h};
  for (auto& block : down_blocks_) h = block->forward(h, act_temb, skips, checkpointing);  // [N,H',W',C']
  if (mid_block_) h = mid_block_->forward(h, act_temb, checkpointing);                     // [N,H',W',C']
  for (auto& block : up_blocks_) h = block->forward(h, act_temb, skips, checkpointing);    // [N,H,W,C]
  h = conv_out_->forward(conv_norm_out_->forward(h));                                      // [N,H,W,out]
  return config_.time_embedding_type == "fourier" ? divided_by_time(h, timesteps) : h;     // [N,H,W,out]
}

DType timestep_type(const UNetConfig& config) {
  return config.time_embedding_type == "learned" ? DType::kInt32 : DType::kFloat32;
}

DType class_label_type(const UNetConfig& config) {
  return config.class_embed_type ? DType::kFloat32 : DType::kInt32;
}

void upload_timesteps(const UNetConfig& config, const std::vector<int>& timesteps, const Tensor& t) {
  check(t.numel() == static_cast<int64_t>(timesteps.size()), "upload_timesteps: ", timesteps.size(),
        " timesteps for ", t.numel());
  if (timestep_type(config) == DType::kFloat32)
    return upload(std::vector<float>(timesteps.begin(), timesteps.end()).data(), t);
  for (int time : timesteps)
    if (time < 0 || time >= *config.num_train_timesteps)
      bad_input("timestep ", time, ": the model knows times 0 to ", *config.num_train_timesteps - 1);
  upload(std::vector<int32_t>(timesteps.begin(), timesteps.end()).data(), t);
}

Tensor timesteps_tensor(const UNetConfig& config, const std::vector<int>& timesteps, Device device) {
  Tensor t = empty({static_cast<int64_t>(timesteps.size())}, timestep_type(config), device);  // [N]
  upload_timesteps(config, timesteps, t);
  return t;
}

Tensor class_labels_tensor(const UNetConfig& config, const std::vector<int>& labels, Device device) {
  const Shape shape{static_cast<int64_t>(labels.size())};
  if (!config.takes_class_labels()) bad_input("class labels: the model knows no classes");
  if (config.class_embed_type == "identity")
    bad_input("class labels: class_embed_type \"identity\" takes embeddings, not numbers");
  if (class_label_type(config) == DType::kFloat32)
    return from_vector(std::vector<float>(labels.begin(), labels.end()), shape, device);
  for (int label : labels)
    if (label < 0 || label >= *config.num_class_embeds)
      bad_input("class label ", label, ": the model knows classes 0 to ", *config.num_class_embeds - 1);
  return from_vector(std::vector<int32_t>(labels.begin(), labels.end()), shape, device);
}

}  // namespace imago
