#include "models/features/feature_network.h"

#include "kernels/error.h"

namespace imago {

std::unique_ptr<FeatureNetwork> open_feature_network(const std::filesystem::path& path, Device) {
  if (!std::filesystem::exists(path)) bad_input(path.string(), ": no such file or folder");
  bad_input(path.string(), ": no feature network: expected a folder that train_classifier wrote, or ",
            "Inception-v3's weights as a safetensors file");
}

}  // namespace imago
