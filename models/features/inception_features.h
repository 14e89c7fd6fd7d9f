// The features of Inception-v3, by which published Frechet distances are measured.
#pragma once

#include "models/features/feature_network.h"
#include "models/inception/inception.h"

namespace imago {

class InceptionFeatures : public FeatureNetwork {
 public:
  /// A safetensors file as InceptionV3 reads it, which `narrow` belongs to.
  InceptionFeatures(const std::filesystem::path& weights, Device device, int narrow = 1)
      : network_(weights, device, narrow) {}

  std::string name() const override { return "Inception-v3 (2015-12-05)"; }
  int64_t dimension() const override { return network_.dimension(); }
  /// Images are brought to 299 x 299 as pytorch-fid does: grey ones get three equal channels, all are resized
  /// by resize_plainly().
  Tensor features(const Tensor& images) const override;

 private:
  InceptionV3 network_;
};

/// Bilinear resize without antialiasing, as torch's interpolate(mode="bilinear", align_corners=False): output
/// pixel i lies at (i + 1/2) in / out - 1/2 of the input, not less than 0, between its two neighbours (at the
/// end, one counts twice). images [N,H,W,C] float32; result [N,height,width,C] on the same device.
Tensor resize_plainly(const Tensor& images, int64_t height, int64_t width);

}  // namespace imago
