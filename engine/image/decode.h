// PNG, JPEG and WebP files to pixels.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "engine/image/image.h"

namespace imago {

/// Decodes a PNG, JPEG or WebP (told apart by content) to grey or RGB. Palettes are looked up, transparency
/// is laid over white, 16-bit samples are rounded to 8 bits, CMYK becomes RGB. The EXIF orientation is
/// applied: diffusers' train_unconditional.py reads folders through Hugging Face datasets, whose Image
/// feature calls PIL.ImageOps.exif_transpose (torchvision's ImageFolder does not). Bad input, "NAME:
/// truncated JPEG", for files that end too early, fail a PNG checksum, or are something else, an animated
/// WebP too. (JPEG and WebP have no checksums: a flipped bit inside may go unnoticed.)
Image decode_image(std::string_view bytes, const std::string& name);

/// decode_image of a file's content.
Image read_image(const std::filesystem::path& path);

/// Looks at the first and last bytes of an image file (rarely at all of them) without decoding it: what is
/// wrong with it, as "truncated JPEG", or an empty string. Never throws.
std::string image_file_problem(const std::filesystem::path& path);

}  // namespace imago
