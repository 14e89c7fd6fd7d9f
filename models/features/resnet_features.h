// The features of a classifier that was trained here.
#pragma once

#include "models/features/feature_network.h"
#include "models/resnet/classifier.h"

namespace imago {

class ResNetFeatures : public FeatureNetwork {
 public:
  /// A folder that train_classifier wrote; anything else is bad input.
  ResNetFeatures(const std::filesystem::path& folder, Device device);

  std::string name() const override { return name_; }
  int64_t dimension() const override { return classifier_.config().feature_width(); }
  Tensor features(const Tensor& images) const override { return classifier_.features(images); }

 private:
  Classifier classifier_;
  std::string name_;
};

}  // namespace imago
