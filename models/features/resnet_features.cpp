#include "models/features/resnet_features.h"

#include "kernels/error.h"

namespace imago {

ResNetFeatures::ResNetFeatures(const std::filesystem::path& folder, Device device)
    : classifier_(folder, device),
      name_(str("ResNet of ", classifier_.class_names().size(), " classes (", folder.string(), ")")) {}

}  // namespace imago
