// Moving images that browsers and viewers play: PNG with the chunks acTL, fcTL and fdAT.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/image/image.h"

namespace imago {

/// The bytes of an animated PNG that plays for ever: frames of one size, each shown for its number of
/// milliseconds (less than 65536). Programs that know no animation show the first frame.
std::string encode_animated_png(std::span<const Image> frames, std::span<const int> milliseconds);

}  // namespace imago
