#include "apps/common/trajectory.h"

#include <algorithm>
#include <cmath>

#include "engine/image/animated_png.h"
#include "engine/image/png.h"
#include "engine/ops/elementwise.h"
#include "models/pixels.h"
#include "models/trainer/preview.h"

namespace imago {

void Trajectory::see(int64_t first, const Tensor& x, const NoiseLevel& at) {
  height_ = static_cast<int>(x.dim(1)), width_ = static_cast<int>(x.dim(2)),
  channels_ = static_cast<int>(x.dim(3));
  moment_ = first == batch_ ? moment_ + 1 : 0;
  batch_ = first;
  const auto size =
      static_cast<size_t>(height_) * static_cast<size_t>(width_) * static_cast<size_t>(channels_);
  if (moment_ == pixels_.size()) pixels_.emplace_back(size * static_cast<size_t>(images_));
  const double spread = std::max(1.0, std::hypot(at.signal, at.noise));
  const std::vector<uint8_t> shown = to_pixels(scale(x, static_cast<float>(1 / spread)));
  std::copy(shown.begin(), shown.end(), pixels_[moment_].begin() + static_cast<int64_t>(size) * first);
}

Image Trajectory::film_strip(int columns) const {
  const auto moments = static_cast<int>(pixels_.size());
  columns = std::min(columns, moments);
  const size_t size = pixels_[0].size() / static_cast<size_t>(images_);
  std::vector<uint8_t> tiles;
  for (int64_t n = 0; n < images_; ++n)
    for (int k = 0; k < columns; ++k) {
      const int moment = columns > 1 ? (moments - 1) * k / (columns - 1) : moments - 1;
      const auto begin = pixels_[moment].begin() + static_cast<int64_t>(size) * n;
      tiles.insert(tiles.end(), begin, begin + static_cast<int64_t>(size));
    }
  return tile_images(tiles, static_cast<int>(images_) * columns, height_, width_, channels_, columns);
}

std::string Trajectory::animation() const {
  constexpr int kStep = 60, kEnd = 1500;  // milliseconds
  std::vector<Image> frames;
  for (const std::vector<uint8_t>& pixels : pixels_)
    frames.push_back(tile_images(pixels, static_cast<int>(images_), height_, width_, channels_,
                                 grid_columns(static_cast<int>(images_))));
  std::vector<int> times(frames.size(), kStep);
  times.back() = kEnd;
  return encode_animated_png(frames, times);
}

}  // namespace imago
