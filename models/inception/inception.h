// Inception-v3 (Szegedy 2015) as the Frechet Inception Distance uses it (Heusel 2017): the network of the
// TensorFlow release of 2015-12-05, whose weights pytorch-fid publishes. It differs from torchvision's:
// average pooling does not count what lies outside of the image, the last block pools by the maximum, and
// there are 1008 classes.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "engine/io/safetensors.h"
#include "models/inception/batch_norm_conv.h"

namespace imago {

/// Rows and columns of a filter, and whether the image is padded so that it keeps its size.
struct FilterShape {
  int rows = 1, columns = 1, stride = 1;
  bool padded = true;
};

class InceptionV3 {
 public:
  /// Reads the weights: a safetensors file with the names of pytorch-fid's
  /// pt_inception-2015-12-05-6726825d.pth, as convert_weights.py beside this file writes it. Bad input, in
  /// one line that names file and tensor, for a tensor that is missing, has another shape or belongs to
  /// another network. `narrow`: all widths are divided by it, as tests do.
  InceptionV3(const std::filesystem::path& weights, Device device, int narrow = 1);

  /// The means over all pixels behind the last block ("pool3"): [N,D]. images [N,H,W,3] float32 in [-1,1], H
  /// and W at least 75; 299 x 299 is what the network was trained on. Records no gradients.
  Tensor features(const Tensor& images) const;
  int64_t dimension() const { return 2048 / narrow_; }  // D

 private:
  /// The layer of this name, `width` channels wide, made from the file when it is first asked for.
  Tensor conv(const std::string& name, const Branches& x, int64_t width,
              const FilterShape& filter = {}) const;

  // The blocks, in the names of pytorch-fid; each gives the branches of its result.
  Branches block_a(const std::string& name, const Branches& x, int64_t pool_width) const;
  Branches block_b(const std::string& name, const Branches& x) const;
  Branches block_c(const std::string& name, const Branches& x, int64_t width) const;
  Branches block_d(const std::string& name, const Branches& x) const;
  enum class Pool { kAverage, kMaximum };
  Branches block_e(const std::string& name, const Branches& x, Pool pool) const;
  Branches run(const Tensor& images) const;
  void check_all_used(const SafetensorsFile& file) const;

  Device device_;
  int narrow_;
  const SafetensorsFile* file_ = nullptr;                // while layers are being made
  mutable std::map<std::string, BatchNormConv> layers_;  // complete once the constructor is done
};

}  // namespace imago
