// Some of the images of a set.
#pragma once

#include <memory>
#include <vector>

#include "engine/data/dataset.h"

namespace imago {

/// The images `indices` of `set`, in that order, as a set of their own: names and classes are those of the
/// whole.
std::shared_ptr<const Dataset> subset_of(std::shared_ptr<const Dataset> set, std::vector<int64_t> indices);

/// A set cut in two at random, by (seed, size of the set) alone: `share` of the images, at least one and not
/// all, and the others, both in the order of the set. Bad input for a set of one image.
struct HeldOut {
  std::shared_ptr<const Dataset> kept, held_out;
};
HeldOut hold_out(const std::shared_ptr<const Dataset>& set, double share, uint64_t seed);

}  // namespace imago
