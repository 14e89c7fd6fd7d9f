// What sample_ddpm starts from: noise, images, masks, in the shape that a model wants.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/tensor/tensor.h"

namespace imago {

/// Tensor "noise" [N,C,H,W] of a safetensors file as [N,H,W,C] on the device.
Tensor read_initial_noise(const std::filesystem::path& path, int64_t channels, Device device);

/// An image file in [-1,1], the same for all `images`: [N,H,W,C]. Bad input "OPTION FILE: ..." where its size
/// is another.
Tensor read_image_for(const std::string& option, const std::filesystem::path& path, const Shape& images,
                      Device device);

/// A mask file: 1 where it is white, and the image stays; 0 where it is black, and is painted anew; in
/// between in between. [N,H,W,C] like read_image_for.
Tensor read_mask_for(const std::string& option, const std::filesystem::path& path, const Shape& images,
                     Device device);

/// Noise between that of image 0 of two seeds, along the great circle (Shoemake 1985), so that all of it has
/// the length of noise: [N,H,W,C], from the first seed to the second.
Tensor interpolated_noise(uint64_t from, uint64_t to, const Shape& images, Device device);

}  // namespace imago
