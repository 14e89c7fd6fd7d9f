// How images came out of noise, step by step: as a film strip or a moving image.
#pragma once

#include <string>
#include <vector>

#include "engine/image/image.h"
#include "models/diffusion/sampler.h"

namespace imago {

/// Watches a sampling (SampleRequest::watch) and writes what it saw. x is shown as it is where it has the
/// scale of images; where x = x_0 + sigma e, divided by sqrt(1 + sigma^2).
class Trajectory {
 public:
  explicit Trajectory(int64_t images) : images_(images) {}
  void see(int64_t first, const Tensor& x, const NoiseLevel& at);

  /// One row an image, at most `columns` moments from noise to the end, evenly chosen.
  Image film_strip(int columns = 10) const;
  /// All images in a grid that is about square, moment by moment; the last stays for a while.
  std::string animation() const;

 private:
  int64_t images_;
  int height_ = 0, width_ = 0, channels_ = 0;
  std::vector<std::vector<uint8_t>> pixels_;  // [moment] of all images [N,H,W,C]
  int64_t batch_ = -1;                        // the batch that is being seen begins with this image
  size_t moment_ = 0;
};

}  // namespace imago
