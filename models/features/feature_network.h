// Feature networks: what sets of images are compared with (Frechet distance, kernel distance, precision and
// recall).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine/tensor/tensor.h"

namespace imago {

/// A trained network up to the layer behind its last pooling: images become vectors in which distance means
/// something (Heusel 2017).
class FeatureNetwork {
 public:
  virtual ~FeatureNetwork() = default;
  /// For people, and for tables of distances: those of two networks do not compare.
  virtual std::string name() const = 0;
  virtual int64_t dimension() const = 0;  // D
  /// images [N,H,W,C] float32 in [-1,1], as a U-Net sees them, of any size, C = 1 or 3, on the device that
  /// the network was opened on; result [N,D] float32 on that device. The network brings them to its own size
  /// and channels. The features of an image do not depend on the others of its batch. Records no gradients.
  virtual Tensor features(const Tensor& images) const = 0;
};

/// Reads a feature network: the ResNet of a folder that train_classifier wrote, or Inception-v3 from a
/// safetensors file with the tensor names of pytorch-fid. Anything else is bad input in one line,
/// "PATH: ...".
std::unique_ptr<FeatureNetwork> open_feature_network(const std::filesystem::path& path, Device device);

}  // namespace imago
