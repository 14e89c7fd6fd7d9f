#include "models/unet/inputs.h"

#include <cmath>

namespace imago {
namespace {

// A learned time embedding is a table, whose rows are whole times.
void check_row(const UNetConfig& config, float time) {
  if (time != std::floor(time)) bad_input("timestep ", time, ": the model knows whole times only");
  if (time < 0 || time >= static_cast<float>(*config.num_train_timesteps))
    bad_input("timestep ", time, ": the model knows times 0 to ", *config.num_train_timesteps - 1);
}

}  // namespace

DType timestep_type(const UNetConfig& config) {
  return config.time_embedding_type == "learned" ? DType::kInt32 : DType::kFloat32;
}

DType class_label_type(const UNetConfig& config) {
  return config.class_embed_type ? DType::kFloat32 : DType::kInt32;
}

Tensor timesteps_tensor(const UNetConfig& config, const std::vector<int>& timesteps, Device device) {
  const Shape shape{static_cast<int64_t>(timesteps.size())};
  if (timestep_type(config) == DType::kFloat32)
    return from_vector(std::vector<float>(timesteps.begin(), timesteps.end()), shape, device);
  for (const int time : timesteps) check_row(config, static_cast<float>(time));
  return from_vector(std::vector<int32_t>(timesteps.begin(), timesteps.end()), shape, device);
}

void upload_time(const UNetConfig& config, float time, const Tensor& t) {
  const auto count = static_cast<size_t>(t.numel());
  if (timestep_type(config) == DType::kFloat32) return upload(std::vector<float>(count, time).data(), t);
  check_row(config, time);
  upload(std::vector<int32_t>(count, static_cast<int32_t>(time)).data(), t);
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
