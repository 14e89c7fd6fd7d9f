#include "models/evaluation/tiles.h"

#include "engine/image/png.h"
#include "models/evaluation/neighbours.h"

namespace imago {

std::string tiles_png(const ImageSet& images, int64_t count, int columns) {
  const auto first = std::span(images.pixels).first(static_cast<size_t>(count * images.image_size()));
  const Image grid = tile_images(first, static_cast<int>(count), static_cast<int>(images.height),
                                 static_cast<int>(images.width), static_cast<int>(images.channels), columns);
  return encode_png(grid.pixels, grid.height, grid.width, grid.channels);
}

std::string neighbours_png(const ImageSet& samples, const Features& of_samples, const ImageSet& set,
                           const Features& of_set, int k) {
  ImageSet rows{samples.height, samples.width, samples.channels};
  const auto append = [&](std::span<const uint8_t> image) {
    rows.pixels.insert(rows.pixels.end(), image.begin(), image.end());
  };
  const auto found = nearest_neighbours(of_samples, of_set, k);
  for (int64_t i = 0; i < samples.count(); ++i) {
    append(samples.image(i));
    for (const Neighbour& n : found[static_cast<size_t>(i)]) append(set.image(n.index));
  }
  return tiles_png(rows, rows.count(), k + 1);
}

}  // namespace imago
