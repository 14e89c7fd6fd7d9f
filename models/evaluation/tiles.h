// Sets of images as one PNG: alone, and beside what is nearest to them.
#pragma once

#include <string>

#include "models/evaluation/image_set.h"

namespace imago {

/// The first `count` images in a grid, as the bytes of a PNG.
std::string tiles_png(const ImageSet& images, int64_t count, int columns);

/// A row for each sample: itself, then the `k` images of `set` whose features are nearest to its own, the
/// nearest first. Bad input where the set has fewer.
std::string neighbours_png(const ImageSet& samples, const Features& of_samples, const ImageSet& set,
                           const Features& of_set, int k);

}  // namespace imago
