// A training run of seconds: images from nothing, and a small U-Net for them.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "engine/data/dataset.h"
#include "kernels/philox.h"
#include "models/report/metrics.h"
#include "models/trainer/train_config.h"

namespace imago::test {

/// Soft blobs in random colours, from nothing.
class Blobs final : public Dataset {
 public:
  explicit Blobs(int channels = 3, int classes = 0)
      : channels_(channels), names_(static_cast<size_t>(classes), "blob") {}
  int64_t size() const override { return 64; }
  Image image(int64_t i) const override {
    constexpr int kSide = 8;
    Image p{kSide, kSide, channels_, {}};
    const double cx = 2 + 4 * uniform_at(1, 1, i, 0), cy = 2 + 4 * uniform_at(1, 1, i, 1);
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const double near = std::exp(-((x - cx) * (x - cx) + (y - cy) * (y - cy)) / 6);
        for (int c = 0; c < channels_; ++c)
          p.pixels.push_back(
              static_cast<uint8_t>(255 * near * uniform_at(1, 1, i, static_cast<uint32_t>(2 + c))));
      }
    }
    return p;
  }
  int32_t label(int64_t i) const override {
    return names_.empty() ? -1 : static_cast<int32_t>(i % static_cast<int64_t>(names_.size()));
  }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override { return "blob " + std::to_string(i); }
  std::string description() const override { return "64 blobs"; }

 private:
  int channels_;
  std::vector<std::string> names_;
};

/// A U-Net of two levels with attention, about 60,000 parameters, on images of 8x8.
inline TrainConfig tiny_config(int steps) {
  TrainConfig c;
  c.unet.sample_size = {{8, 8}};
  c.unet.layers_per_block = 1;
  c.unet.block_out_channels = {16, 32};
  c.unet.down_block_types = {"DownBlock2D", "AttnDownBlock2D"};
  c.unet.up_block_types = {"AttnUpBlock2D", "UpBlock2D"};
  c.unet.norm_num_groups = 8;
  c.height = c.width = 8;
  c.batch_size = 8;
  c.max_train_steps = steps;
  c.learning_rate = 1e-3;
  c.lr_scheduler = "constant";
  c.seed = 5;
  c.optimizer.ema = EmaSchedule{};
  return c;
}

/// A row without its times.
inline std::string text_of(MetricsRow row) {
  row.seconds = row.images_per_second = 0;
  return format_metrics_row(row);
}

}  // namespace imago::test
