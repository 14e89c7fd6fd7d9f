#include "models/features/feature_network.h"

#include "kernels/error.h"
#include "models/features/inception_features.h"
#include "models/features/resnet_features.h"

namespace imago {

std::unique_ptr<FeatureNetwork> open_feature_network(const std::filesystem::path& path, Device device) {
  if (!std::filesystem::exists(path)) bad_input(path.string(), ": no such file or folder");
  if (std::filesystem::is_directory(path)) return std::make_unique<ResNetFeatures>(path, device);
  if (path.extension() == ".safetensors") return std::make_unique<InceptionFeatures>(path, device);
  bad_input(path.string(),
            ": no feature network: expected a folder that train_classifier wrote, or Inception-v3's ",
            "weights as a .safetensors file (models/inception/convert_weights.py makes one of a .pth file)");
}

}  // namespace imago
