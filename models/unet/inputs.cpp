#include "models/unet/inputs.h"

namespace imago {

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

std::vector<float> host_floats(const Tensor& t) {
  if (t.dtype() == DType::kFloat32) return to_vector<float>(t);
  const std::vector<int32_t> whole = to_vector<int32_t>(t);
  return {whole.begin(), whole.end()};
}

}  // namespace imago
