// Bringing images to the training resolution: resize, crop, flip, grey or colour.
#pragma once

#include <cstdint>

#include "engine/image/image.h"

namespace imago {

/// Antialiased bilinear resize to [height,width,C]. In each direction, output pixel i is a weighted mean of
/// the inputs j around its centre (i + 1/2) s, s = in / out, with triangle weights
///   w_j ~ max(0, 1 - |j + 1/2 - (i + 1/2) s| / max(s, 1)).
/// Rows first, then columns, rounded to 8 bits after each, with weights in 22-bit fixed point: bit for bit
/// what Pillow 11's Image.resize(..., BILINEAR) gives, which torchvision's Resize calls. (Pillow 13 takes the
/// columns first where that is cheaper; some values then differ by 1.)
Image resize_bilinear(const Image& image, int height, int width);

/// The smallest resize that keeps the proportions and covers height x width: for a square, the shorter side
/// becomes the resolution, and the longer one is rounded down, as torchvision's Resize(resolution).
Image resize_to_cover(const Image& image, int height, int width);

/// Where a window of `size` begins in `extent` >= size when centred; a half is rounded to even, as
/// torchvision's CenterCrop.
int centre_offset(int extent, int size);

/// resize_to_cover, and the centre of the result: [height,width,C].
Image resize_and_crop(const Image& image, int height, int width);

/// Copies the window [top, top+height) x [left, left+width) to out [height,width,C]; mirrored left to right
/// if `flip`.
void copy_window(const Image& image, int top, int left, int height, int width, bool flip, uint8_t* out);

/// Grey to three equal channels, or colour to grey by ITU-R 601 luma, 0.299 R + 0.587 G + 0.114 B in 16-bit
/// fixed point, as Pillow's convert("L"). channels = 1 or 3.
Image with_channels(Image image, int channels);

}  // namespace imago
