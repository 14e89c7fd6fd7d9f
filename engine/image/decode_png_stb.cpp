#include "engine/image/stb_decode.h"

namespace imago {

Image decode_png(std::string_view bytes, const std::string& name) {
  return decode_with_stb(bytes, name);
}

}  // namespace imago
