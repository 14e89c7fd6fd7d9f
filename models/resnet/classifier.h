// A trained classifier: from its folder to what it says of images.
//
//   config.json          the network and its classes (models/resnet/config.h)
//   model.safetensors    its weights, float32, in the names of models/resnet/resnet.h and the layout of
//   PyTorch
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/nn/flat_parameters.h"
#include "models/resnet/confusion.h"
#include "models/resnet/resnet.h"

namespace imago {

/// The most probable class of an image, and its probability: the largest of softmax(logits).
struct Classified {
  int32_t label;
  float probability;
};

/// Of images as the network takes them, [N,S,S,in_channels] float32 in [-1,1] with S = sample_size.
std::vector<Classified> classify(ResNet& network, const Tensor& images);

/// For each class of a set the network's of the same name. Bad input where it has none, and where an image
/// has no class.
std::vector<int32_t> classes_of(const Dataset& set, const ResNetConfig& config);

/// Classifies every image of a set, brought to the network's size as in training, the crop at the centre.
/// Classes as classes_of().
ConfusionMatrix evaluate_classifier(ResNet& network, Device device,
                                    const std::shared_ptr<const Dataset>& set);

class Classifier {
 public:
  /// Opens a folder with the two files above. Bad input, in one line, for anything else: no such folder, the
  /// configuration of another model, weights that are cut off or of another network.
  Classifier(const std::filesystem::path& folder, Device device);

  const ResNetConfig& config() const { return network_->config(); }
  const std::vector<std::string>& class_names() const { return config().class_names; }

  /// Images as a U-Net sees them: [N,H,W,C] float32 in [-1,1] of any size, C = 1 or 3, on the classifier's
  /// device. They are brought to its size as image files are: rounded to 8 bits, resized to cover the square,
  /// cropped at the centre.
  std::vector<Classified> classify(const Tensor& images) const;
  /// What the last layer reads of them: [N,D], D = config().feature_width().
  Tensor features(const Tensor& images) const;
  /// Of all images of a set with classes.
  ConfusionMatrix evaluate(const std::shared_ptr<const Dataset>& set) const;

 private:
  Tensor brought_to_size(const Tensor& images) const;

  Device device_;
  std::unique_ptr<ResNet> network_;
  std::unique_ptr<FlatParameters> parameters_;
};

/// Writes the two files into `folder`, which exists.
void write_classifier(const std::filesystem::path& folder, const ResNetConfig& config,
                      const FlatParameters& parameters);

}  // namespace imago
