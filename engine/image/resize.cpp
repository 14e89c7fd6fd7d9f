#include "engine/image/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/error.h"

namespace imago {
namespace {

constexpr int kWeightBits = 22;  // 8 bits of sample and 2 bits of headroom fill the rest of an int32

// The inputs of one output pixel: weights[0 .. count) belong to the inputs first, first+1, ...
struct Taps {
  int first = 0, count = 0;
  const int32_t* weights = nullptr;
};

class Kernel {
 public:
  Kernel(int in, int out) : taps_(static_cast<size_t>(out)) {
    const double scale = static_cast<double>(in) / out, reach = std::max(scale, 1.0);
    const size_t widest = 2 * static_cast<size_t>(std::ceil(reach)) + 1;
    weights_.resize(widest * static_cast<size_t>(out));
    std::vector<double> exact(widest);
    for (int i = 0; i < out; ++i) {
      const double centre = (i + 0.5) * scale;
      const int first = std::max(0, static_cast<int>(centre - reach + 0.5));
      const int count = std::min(in, static_cast<int>(centre + reach + 0.5)) - first;
      double sum = 0;
      for (int j = 0; j < count; ++j) {
        const double distance = std::abs((j + first - centre + 0.5) * (1.0 / reach));
        sum += exact[static_cast<size_t>(j)] = distance < 1 ? 1 - distance : 0;
      }
      int32_t* weights = weights_.data() + widest * static_cast<size_t>(i);
      for (int j = 0; j < count; ++j)
        weights[j] = static_cast<int32_t>(exact[static_cast<size_t>(j)] / sum * (1 << kWeightBits) + 0.5);
      taps_[static_cast<size_t>(i)] = {first, count, weights};
    }
  }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  const Taps& operator[](int i) const { return taps_[static_cast<size_t>(i)]; }

 private:
  std::vector<Taps> taps_;
  std::vector<int32_t> weights_;
};

uint8_t rounded(int32_t sum) {  // weights sum to 1 up to rounding, so at most a little beyond 255
  return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

template <int C>
void resize_rows(const Image& in, Image& out) {  // [H,W,C] -> [H,W',C]
  const Kernel kernel(in.width, out.width);
  const uint8_t* row = in.pixels.data();
  uint8_t* to = out.pixels.data();
  for (int y = 0; y < in.height; ++y, row += static_cast<size_t>(in.width) * C) {
    for (int x = 0; x < out.width; ++x) {
      const Taps& taps = kernel[x];
      int32_t sum[C];
      for (int c = 0; c < C; ++c) sum[c] = 1 << (kWeightBits - 1);
      const uint8_t* from = row + static_cast<size_t>(taps.first) * C;
      for (int j = 0; j < taps.count; ++j)
        for (int c = 0; c < C; ++c) sum[c] += from[j * C + c] * taps.weights[j];
      for (int c = 0; c < C; ++c) *to++ = rounded(sum[c]);
    }
  }
}

void resize_columns(const Image& in, Image& out) {  // [H,W,C] -> [H',W,C]
  const Kernel kernel(in.height, out.height);
  const size_t row = static_cast<size_t>(in.width) * static_cast<size_t>(in.channels);
  std::vector<int32_t> sums(row);
  uint8_t* to = out.pixels.data();
  for (int y = 0; y < out.height; ++y, to += row) {
    const Taps& taps = kernel[y];
    std::fill(sums.begin(), sums.end(), 1 << (kWeightBits - 1));
    for (int j = 0; j < taps.count; ++j) {
      const uint8_t* from = in.pixels.data() + static_cast<size_t>(taps.first + j) * row;
      const int32_t weight = taps.weights[j];
      for (size_t x = 0; x < row; ++x) sums[x] += from[x] * weight;
    }
    for (size_t x = 0; x < row; ++x) to[x] = rounded(sums[x]);
  }
}

Image blank(int height, int width, int channels) {
  return {height, width, channels,
          std::vector<uint8_t>(static_cast<size_t>(height) * static_cast<size_t>(width) *
                               static_cast<size_t>(channels))};
}

}  // namespace

Image resize_bilinear(const Image& image, int height, int width) {
  check(height > 0 && width > 0 && image.height > 0 && image.width > 0, "resize to ", height, "x", width);
  check(image.channels == 1 || image.channels == 3, "resize of ", image.channels, " channels");
  Image wide;
  if (width != image.width) {
    wide = blank(image.height, width, image.channels);
    image.channels == 1 ? resize_rows<1>(image, wide) : resize_rows<3>(image, wide);
  }
  const Image& rows = width != image.width ? wide : image;
  if (height == image.height) return rows;
  Image out = blank(height, width, image.channels);
  resize_columns(rows, out);
  return out;
}

Image resize_to_cover(const Image& image, int height, int width) {
  const int64_t h = image.height, w = image.width;
  int new_height = height, new_width = width;
  if (height * w >= width * h)
    new_width = std::max<int>(width, static_cast<int>(height * w / h));
  else
    new_height = std::max<int>(height, static_cast<int>(width * h / w));
  return resize_bilinear(image, new_height, new_width);
}

int centre_offset(int extent, int size) {
  const int spare = extent - size, half = spare / 2;
  return spare % 2 == 1 ? half + half % 2 : half;
}

Image resize_and_crop(const Image& image, int height, int width) {
  const Image covering = resize_to_cover(image, height, width);
  if (covering.height == height && covering.width == width) return covering;
  Image cropped = blank(height, width, image.channels);
  copy_window(covering, centre_offset(covering.height, height), centre_offset(covering.width, width), height,
              width,
              /*flip=*/false, cropped.pixels.data());
  return cropped;
}

void copy_window(const Image& image, int top, int left, int height, int width, bool flip, uint8_t* out) {
  check(top >= 0 && left >= 0 && top + height <= image.height && left + width <= image.width, "window ",
        height, "x", width, " at ", top, ",", left, " of an image of ", image.height, "x", image.width);
  const size_t channels = static_cast<size_t>(image.channels), row = static_cast<size_t>(width) * channels;
  for (int y = 0; y < height; ++y, out += row) {
    const size_t at =
        static_cast<size_t>(top + y) * static_cast<size_t>(image.width) + static_cast<size_t>(left);
    const uint8_t* from = image.pixels.data() + at * channels;
    if (!flip) {
      std::memcpy(out, from, row);
      continue;
    }
    for (size_t x = 0; x < row; x += channels)
      for (size_t c = 0; c < channels; ++c) out[row - channels - x + c] = from[x + c];
  }
}

Image with_channels(Image image, int channels) {
  check(channels == 1 || channels == 3, "images have 1 or 3 channels, not ", channels);
  if (image.channels == channels) return image;
  Image out = blank(image.height, image.width, channels);
  const uint8_t* from = image.pixels.data();
  if (channels == 3) {
    for (size_t i = 0; i < out.pixels.size(); i += 3) std::fill_n(&out.pixels[i], 3, *from++);
  } else {
    for (size_t i = 0; i < out.pixels.size(); ++i, from += 3)
      out.pixels[i] =
          static_cast<uint8_t>((from[0] * 19595u + from[1] * 38470u + from[2] * 7471u + 0x8000u) >> 16);
  }
  return out;
}

}  // namespace imago
