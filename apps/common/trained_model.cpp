#include "apps/common/trained_model.h"

#include <algorithm>
#include <filesystem>

#include "apps/common/run_app.h"
#include "kernels/error.h"
#include "models/weights.h"

namespace imago {
namespace fs = std::filesystem;

TrainedModel open_trained_model(const std::string& program, const std::string& path, bool raw_weights,
                                Device device, DType compute) {
  TrainedModel m;
  m.folder = read_pipeline_folder(path);
  for (const std::string& w : m.folder.warnings) warn_user(program, w);
  // A checkpoint keeps the moving average beside the weights; a finished model has it in their place.
  const fs::path ema = fs::path(path) / "unet_ema" / m.folder.weights.filename();
  if (!raw_weights && fs::exists(ema)) m.folder.weights = ema;
  m.unet = std::make_unique<UNet>(m.folder.unet);
  m.parameters = std::make_unique<FlatParameters>(
      *m.unet, FlatParameters::Options{device, DType::kFloat32, compute, false});
  load_weights(m.folder.weights, *m.parameters, m.parameters->values());
  m.parameters->refresh_compute();
  return m;
}

int classes_of(const UNetConfig& unet) {
  return unet.num_class_embeds ? *unet.num_class_embeds - (unet.imago_null_class ? 1 : 0) : 0;
}

std::vector<int> classes_to_sample(const UNetConfig& unet, const std::optional<int>& class_label,
                                   double guidance_scale, int64_t first, int64_t count) {
  if (!unet.takes_class_labels()) {
    if (class_label) bad_input("--class_label: the model knows no classes");
    if (guidance_scale != 1) bad_input("--guidance_scale: the model knows no classes");
    return {};
  }
  if (guidance_scale != 1 && !unet.imago_null_class)
    bad_input("--guidance_scale: the model was not trained with class dropout (no imago_null_class)");
  if (!class_label && !unet.num_class_embeds) bad_input("--class_label: the model needs one");
  const int classes = std::max(classes_of(unet), 1);
  std::vector<int> labels;
  for (int64_t k = first; k < first + count; ++k)
    labels.push_back(class_label ? *class_label : static_cast<int>(k % classes));
  return labels;
}

}  // namespace imago
