// sample_ddpm: the same image whatever the batch size, noise in and tensors out.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/image/decode.h"
#include "engine/image/png.h"
#include "engine/io/safetensors.h"
#include "engine/tensor/tensor.h"
#include "models/diffusion/pipeline_folder.h"
#include "models/diffusion/streams.h"
#include "models/layout.h"
#include "models/unet/unet.h"
#include "tests/apps/tiny_run.h"

namespace imago::test {
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

TEST_F(SampleTest, EverySamplerDrawsWithoutAStumble) {
  std::vector<std::vector<float>> all;
  for (const char* name :
       {"ddpm", "ddim", "dpmsolver++", "unipc", "euler", "euler_ancestral", "heun", "edm_heun"}) {
    all.push_back(sampled({"--scheduler", name}));
    for (const float x : all.back()) ASSERT_TRUE(std::isfinite(x)) << name;
    for (size_t i = 0; i + 1 < all.size(); ++i) EXPECT_FALSE(all[i] == all.back()) << name;
  }
  EXPECT_FALSE(sampled({"--scheduler", "euler", "--use_karras_sigmas", "true"}) ==
               sampled({"--scheduler", "euler", "--use_karras_sigmas", "false"}));
}

/// sample_ddpm with these options is refused in one line that has all the parts.
void expect_refused(const fs::path& model, const Arguments& more, const std::vector<std::string>& parts) {
  Arguments a = {"--model", model.string(), "--num_inference_steps", "3"};
  a.insert(a.end(), more.begin(), more.end());
  const Finished f = run_program("sample_ddpm", a);
  EXPECT_EQ(f.code, 2) << f.err;
  EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 1) << f.err;
  for (const std::string& part : parts)
    EXPECT_NE(f.err.find(part), std::string::npos) << part << ": " << f.err;
}

TEST_F(SampleTest, RefusesOptionsThatTheSamplerDoesNotHave) {
  expect_refused(model(), {"--scheduler", "ddim", "--solver_order", "3"}, {"--solver_order", "ddim"});
  expect_refused(model(), {"--scheduler", "euler", "--clip_sample", "true"}, {"--clip_sample", "euler"});
  expect_refused(model(), {"--scheduler", "heun", "--s_churn", "2"}, {"--s_churn", "edm_heun", "heun"});
  expect_refused(model(), {"--scheduler", "unipc", "--eta", "1"}, {"--eta", "ddim", "unipc"});
  expect_refused(model(), {"--scheduler", "unipc", "--solver_order", "4"}, {"solver_order", "4"});
  expect_refused(model(), {"--scheduler", "unipc", "--solver_type", "heun"}, {"solver_type", "heun", "bh2"});
  expect_refused(model(), {"--scheduler", "flow_euler"},
                 {"FlowMatchEulerDiscreteScheduler", "DDPMScheduler"});
  expect_refused(model(), {"--guidance_scale", "2"}, {"--guidance_scale", "classes"});
  expect_refused(model(), {"--mask", "m.png"}, {"--mask", "--init_image"});
  expect_refused(model(), {"--init_image", "nowhere.png"}, {"--init_image", "nowhere.png"});
  expect_refused(model(), {"--guidance_scale", "2", "--guidance_interval", "3", "1"},
                 {"--guidance_interval"});
}

// From one seed's first image to another's.
TEST_F(SampleTest, InterpolationBeginsAndEndsWithTheSeeds) {
  const auto one = [&](const char* seed) {
    return sampled({"--scheduler", "ddim", "--num_images", "1", "--seed", seed});
  };
  const std::vector<float> between =
      sampled({"--scheduler", "ddim", "--interpolate", "11", "12", "--num_images", "4"});
  const std::vector<float> first = one("11"), last = one("12");
  for (size_t i = 0; i < first.size(); ++i) {
    ASSERT_NEAR(between[i], first[i], 1e-4);
    ASSERT_NEAR(between[between.size() - last.size() + i], last[i], 1e-4);
  }
}

TEST_F(SampleTest, MasksAndImagesAndTheWayThere) {
  const Image half = [] {
    Image p{16, 16, 1, std::vector<uint8_t>(256, 0)};
    for (int i = 0; i < 256; ++i) p.pixels[i] = i % 16 < 8 ? 255 : 0;
    return p;
  }();
  const fs::path image = folder_ / "image.png", mask = folder_ / "mask.png", wrong = folder_ / "wrong.png";
  write_png(image, Image{16, 16, 3, std::vector<uint8_t>(768, 200)});
  write_png(mask, half);
  write_png(wrong, Image{8, 16, 1, std::vector<uint8_t>(128, 0)});
  const std::vector<float> x = sampled(
      {"--init_image", image.string(), "--mask", mask.string(), "--resample", "2", "--num_images", "1"});
  for (int i = 0; i < 768; ++i) {
    if (i % 16 < 8) {
      EXPECT_NEAR(x[static_cast<size_t>(i)], 200 / 127.5 - 1, 1e-6);
    }
  }
  expect_refused(model(), {"--init_image", image.string(), "--mask", wrong.string()},
                 {"--mask", "16 x 8", "16 x 16"});
  const fs::path strip = folder_ / "strip.png", moving = folder_ / "moving.png";
  sample({"--init_image", image.string(), "--strength", "0.7", "--trajectory", strip.string(), "--animation",
          moving.string()});
  const Image film = read_image(strip);  // two of three steps are left: three moments, five images
  EXPECT_EQ(film.width, 3 * 16 + 2 * 2);
  EXPECT_EQ(film.height, 5 * 16 + 4 * 2);
  EXPECT_EQ(read_image(moving).width, 3 * 16 + 2 * 2);  // what a reader of still images sees: the first frame
  const fs::path noise = folder_ / "noise.safetensors";
  sample({"--invert", image.string(), "--num_images", "1", "--save_tensors", noise.string()});
  EXPECT_EQ(SafetensorsFile(noise).entry("noise").shape, (std::vector<int64_t>{1, 3, 16, 16}));
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

TEST_F(SampleTest, GuidedDdimThatClampsWarns) {
  UNetConfig config = wide_model();
  config.num_class_embeds = 3;
  config.imago_null_class = 2;
  fs::remove_all(model());
  write_random_model(model(), config);
  const auto warns = [&](Arguments more) {
    Arguments a = {"--model",
                   model().string(),
                   "--num_images",
                   "1",
                   "--num_inference_steps",
                   "2",
                   "--guidance_scale",
                   "2",
                   "--output",
                   (folder_ / "x.png").string()};
    a.insert(a.end(), more.begin(), more.end());
    const Finished f = run_program("sample_ddpm", a);
    EXPECT_EQ(f.code, 0) << f.err;
    return f.err.find("--use_clipped_model_output") != std::string::npos;
  };
  EXPECT_TRUE(warns({"--scheduler", "ddim"}));
  EXPECT_FALSE(warns({"--scheduler", "ddim", "--use_clipped_model_output"}));
  EXPECT_FALSE(warns({"--scheduler", "ddim", "--clip_sample", "false"}));
  EXPECT_FALSE(warns({"--scheduler", "unipc"}));
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
}  // namespace imago::test
