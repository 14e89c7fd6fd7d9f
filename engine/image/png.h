// Writing PNG images, and laying many out in a grid.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "engine/image/image.h"

namespace imago {

/// The bytes of a PNG file. pixels [H,W,C], C = 1 (grey), 3 (RGB) or 4 (RGBA).
std::string encode_png(std::span<const uint8_t> pixels, int height, int width, int channels);

/// encode_png into a file, atomically.
void write_png(const std::filesystem::path& path, std::span<const uint8_t> pixels, int height, int width,
               int channels);
void write_png(const std::filesystem::path& path, const Image& image);

/// Lays N images [N,H,W,C] out row by row with `columns` in a row (fewer if N is smaller) and `gap` white
/// pixels between neighbours; places of the last row that stay empty are white.
Image tile_images(std::span<const uint8_t> pixels, int count, int height, int width, int channels,
                  int columns, int gap = 2);

}  // namespace imago
