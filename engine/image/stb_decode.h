// PNG and JPEG by stb_image: slower than libspng and libjpeg-turbo, and always at hand.
#pragma once

#include "engine/image/stored_pixels.h"

namespace imago {

Image decode_with_stb(std::string_view bytes, const std::string& name);

}  // namespace imago
