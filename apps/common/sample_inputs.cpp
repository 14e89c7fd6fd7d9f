#include "apps/common/sample_inputs.h"

#include <algorithm>
#include <cmath>

#include "apps/common/command_line.h"
#include "engine/image/decode.h"
#include "engine/io/safetensors.h"
#include "engine/ops/random.h"
#include "models/diffusion/streams.h"
#include "models/layout.h"

namespace imago {
namespace {

namespace fs = std::filesystem;

/// N times the same numbers, one for each pixel of an image with as many channels as the model has.
template <class F>
Tensor repeated(const Shape& images, Device device, F&& number) {
  const int64_t each = images.numel() / images[0];
  std::vector<float> all;
  for (int64_t n = 0; n < images[0]; ++n)
    for (int64_t i = 0; i < each; ++i) all.push_back(number(i / images[3], i % images[3]));
  return from_vector(all, images, device);  // [N,H,W,C]
}

Image read_sized(const std::string& option, const fs::path& path, const Shape& images) {
  const Image image = naming_option(option, [&] { return read_image(path); });
  if (image.height != images[1] || image.width != images[2])
    bad_input(option, " ", path.string(), ": is ", image.width, " x ", image.height, ", expected ", images[2],
              " x ", images[1], " as the images");
  return image;
}

}  // namespace

Tensor read_initial_noise(const fs::path& path, int64_t channels, Device device) {
  const SafetensorsFile file(path);
  const auto& shape = file.entry("noise").shape;
  if (shape.size() != 4 || shape[1] != channels || shape[0] < 1)
    bad_input("--initial_noise ", path.string(), ": expected tensor noise of shape [N,", channels, ",H,W]");
  const Shape nchw{shape[0], shape[1], shape[2], shape[3]};
  const auto nhwc = nchw_to_nhwc(file.read_as_float32("noise"), nchw);
  return from_vector(nhwc, {shape[0], shape[2], shape[3], shape[1]}, device);
}

Tensor read_image_for(const std::string& option, const fs::path& path, const Shape& images, Device device) {
  const Image image = read_sized(option, path, images);
  const auto channels = static_cast<int64_t>(image.channels);
  if (channels != images[3] && channels != 1)
    bad_input(option, " ", path.string(), ": has ", channels, " channels, the model has ", images[3]);
  return repeated(images, device, [&](int64_t pixel, int64_t c) {
    const int64_t at = channels == 1 ? pixel : pixel * channels + c;
    return static_cast<float>(image.pixels[static_cast<size_t>(at)]) / 127.5f - 1.0f;
  });
}

Tensor read_mask_for(const std::string& option, const fs::path& path, const Shape& images, Device device) {
  const Image image = read_sized(option, path, images);
  return repeated(images, device, [&](int64_t pixel, int64_t) {  // its first channel
    return static_cast<float>(image.pixels[static_cast<size_t>(pixel * image.channels)]) / 255.0f;
  });
}

Tensor interpolated_noise(uint64_t from, uint64_t to, const Shape& images, Device device) {
  const Shape one{1, images[1], images[2], images[3]};
  const Tensor id = from_vector(std::vector<int64_t>{0}, {1}, device);
  const uint32_t stream = random_stream(DiffusionPurpose::kSampleStart);
  const auto noise = [&](uint64_t seed) {
    return to_vector<float>(normal(one, {seed, stream, id}, DType::kFloat32, device));
  };
  const std::vector<float> a = noise(from), b = noise(to);
  double product = 0, length_a = 0, length_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += double{a[i]} * b[i];
    length_a += double{a[i]} * a[i];
    length_b += double{b[i]} * b[i];
  }
  const double angle = std::acos(std::clamp(product / std::sqrt(length_a * length_b), -1.0, 1.0));
  std::vector<float> all;
  for (int64_t k = 0; k < images[0]; ++k) {
    const double u = images[0] > 1 ? static_cast<double>(k) / static_cast<double>(images[0] - 1) : 0;
    const bool apart = std::sin(angle) > 1e-6;
    const double of_a = apart ? std::sin((1 - u) * angle) / std::sin(angle) : 1 - u;
    const double of_b = apart ? std::sin(u * angle) / std::sin(angle) : u;
    for (size_t i = 0; i < a.size(); ++i) all.push_back(static_cast<float>(of_a * a[i] + of_b * b[i]));
  }
  return from_vector(all, images, device);  // [N,H,W,C]
}

}  // namespace imago
