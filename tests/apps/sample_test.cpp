// sample_ddpm: the same image whatever the batch size, noise in and tensors out.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/image/decode.h"
#include "engine/io/safetensors.h"
#include "engine/tensor/tensor.h"
#include "models/diffusion/pipeline_folder.h"
#include "models/diffusion/streams.h"
#include "models/layout.h"
#include "models/unet/unet.h"
#include "tests/apps/tiny_run.h"

namespace imago::testing {
namespace {

namespace fs = std::filesystem;

/// A model with random weights, wide enough that oneDNN takes its blocked kernels.
UNetConfig wide_model() {
  UNetConfig c;
  c.sample_size = {{16, 16}};
  c.layers_per_block = 1;
  c.block_out_channels = {32, 64};
  c.down_block_types = {"DownBlock2D", "AttnDownBlock2D"};
  c.up_block_types = {"AttnUpBlock2D", "UpBlock2D"};
  c.attention_head_dim = 16;
  c.norm_num_groups = 8;
  return c;
}

void write_random_model(const fs::path& folder, const UNetConfig& config) {
  UNet model(config);
  FlatParameters parameters(model, {Device::kCpu, DType::kFloat32, DType::kFloat32, false});
  parameters.initialize(3);
  const SchedulerConfig scheduler;
  write_pipeline_folder(folder, config, scheduler, parameters, parameters.values());
}

class SampleTest : public ::testing::Test {
 protected:
  void SetUp() override { write_random_model(model(), wide_model()); }
  fs::path model() const { return folder_ / "model"; }

  void sample(Arguments more) {
    Arguments a = {"--model", model().string(), "--num_images", "5", "--num_inference_steps", "3", "--seed",
                   "11"};
    a.insert(a.end(), more.begin(), more.end());
    const Finished f = run_program("sample_ddpm", a);
    ASSERT_EQ(f.code, 0) << f.err;
  }
  std::vector<float> sampled(Arguments more) {
    const fs::path file = folder_ / "out.safetensors";
    more.insert(more.end(), {"--save_tensors", file.string()});
    sample(more);
    return SafetensorsFile(file).read_as_float32("samples");
  }
  TempFolder folder_;
};

TEST_F(SampleTest, AImageIsTheSameBitsForEveryBatchSize) {
  for (const Arguments& how :
       {Arguments{"--scheduler", "ddpm"}, Arguments{"--scheduler", "ddim", "--eta", "0.7"},
        Arguments{"--scheduler", "ddim", "--mixed_precision", "bf16"}}) {
    const auto with_batch = [&](const char* size) {
      Arguments a = how;
      a.insert(a.end(), {"--batch_size", size});
      return sampled(a);
    };
    const std::vector<float> whole = with_batch("5");
    ASSERT_EQ(whole.size(), 5u * 3 * 16 * 16);
    for (float x : whole) ASSERT_TRUE(std::isfinite(x));
    for (const char* size : {"1", "2", "3", "4", "64"})
      EXPECT_TRUE(with_batch(size) == whole) << how[1] << ", batch of " << size;
  }
}

TEST_F(SampleTest, MoreImagesDoNotChangeTheFirst) {
  const std::vector<float> five = sampled({}), two = sampled({"--num_images", "2"});
  EXPECT_TRUE(std::equal(two.begin(), two.end(), five.begin()));
  EXPECT_FALSE(sampled({"--seed", "12"}) == five);
}

TEST_F(SampleTest, TheSeedsOwnNoiseGivesTheSeedsImages) {
  constexpr int64_t kImages = 5;
  const Tensor ids = from_vector(std::vector<int64_t>{0, 1, 2, 3, 4}, {kImages}, Device::kCpu);
  const Tensor noise = empty({kImages, 16, 16, 3}, DType::kFloat32, Device::kCpu);
  backend_of(noise).normal({11, random_stream(DiffusionPurpose::kSampleStart), ids}, noise);
  const auto nchw = nhwc_to_nchw(to_vector<float>(noise), noise.shape());
  const NamedTensor named{"noise", {nchw.data(), DType::kFloat32, {kImages, 3, 16, 16}}};
  const fs::path file = folder_ / "noise.safetensors";
  write_safetensors(file, std::span(&named, 1));
  const Arguments ddim = {"--scheduler", "ddim"};
  EXPECT_TRUE(sampled({"--scheduler", "ddim", "--initial_noise", file.string(), "--seed", "99"}) ==
              sampled(ddim));
}

TEST_F(SampleTest, PngsAreTheTensorsRounded) {
  const fs::path grid = folder_ / "new" / "grid.png", images = folder_ / "images";
  const std::vector<float> x =
      sampled({"--output", grid.string(), "--output_dir", images.string(), "--columns", "3"});
  for (int k = 0; k < 5; ++k) {
    const Image p = read_image(images / ("0000" + std::to_string(k) + ".png"));
    ASSERT_EQ(p.height, 16);
    ASSERT_EQ(p.width, 16);
    ASSERT_EQ(p.channels, 3);
    for (int i = 0; i < 16 * 16; ++i) {
      for (int c = 0; c < 3; ++c) {
        const float unit = std::clamp(x[static_cast<size_t>((k * 3 + c) * 256 + i)] / 2 + 0.5f, 0.0f, 1.0f);
        ASSERT_EQ(p.pixels[static_cast<size_t>(i * 3 + c)], std::nearbyint(unit * 255));
      }
    }
  }
  const Image g = read_image(grid);
  EXPECT_EQ(g.width, 3 * 16 + 2 * 2);
  EXPECT_EQ(g.height, 2 * 16 + 2);
}

TEST_F(SampleTest, ClassesTakeTurnsUnlessOneIsNamed) {
  UNetConfig config = wide_model();
  config.num_class_embeds = 2;
  fs::remove_all(model());
  write_random_model(model(), config);
  const std::vector<float> turns = sampled({}), zero = sampled({"--class_label", "0"}),
                           one = sampled({"--class_label", "1"});
  const size_t size = turns.size() / 5;
  for (size_t k = 0; k < 5; ++k) {
    const std::vector<float>& same = k % 2 ? one : zero;
    const std::vector<float>& other = k % 2 ? zero : one;
    EXPECT_TRUE(
        std::equal(turns.begin() + k * size, turns.begin() + (k + 1) * size, same.begin() + k * size));
    EXPECT_FALSE(
        std::equal(turns.begin() + k * size, turns.begin() + (k + 1) * size, other.begin() + k * size));
  }
}

TEST_F(SampleTest, ACheckpointIsSampledFromItsAverage) {
  const TinyRun tiny;
  ASSERT_EQ(run_program("train_ddpm", tiny.train("run", 8, {"--checkpointing_steps", "8"})).code, 0);
  const std::string checkpoint = (tiny.path("run") / "checkpoint-8").string();
  const std::vector<float> average = sampled({"--model", checkpoint});
  EXPECT_TRUE(sampled({"--model", tiny.path("run").string()}) == average);
  EXPECT_FALSE(sampled({"--model", checkpoint, "--raw_weights"}) == average);
}

}  // namespace
}  // namespace imago::testing
