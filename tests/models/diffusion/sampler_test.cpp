// From noise to images: equal to diffusers, the same bits in any batch, refused where it makes no sense.
#include <gtest/gtest.h>

#include "engine/io/safetensors.h"
#include "kernels/philox.h"
#include "models/diffusion/pipeline_folder.h"
#include "models/diffusion/sampler.h"
#include "models/diffusion/streams.h"
#include "models/unet/weights.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

struct Loaded {
  explicit Loaded(Device device, DType dtype = DType::kFloat32)
      : folder(read_pipeline_folder(golden::folder() / "pipeline")),
        unet(folder.unet),
        parameters(unet, {.device = device, .master = dtype, .compute = dtype, .gradients = false}) {
    load_weights(folder.weights, parameters, parameters.values());
    parameters.refresh_compute();
  }
  SamplingPlan plan(SchedulerConfig::Kind kind, int steps, double eta = 0) const {
    return make_plan(as_kind(folder.scheduler, kind), steps, {.eta = eta});
  }
  PipelineFolder folder;
  UNet unet;
  FlatParameters parameters;
};

constexpr auto kDdpm = SchedulerConfig::Kind::kDdpm;
constexpr auto kDdim = SchedulerConfig::Kind::kDdim;

class SamplerOn : public ::testing::TestWithParam<Device> {};

// The same noise through the folder that diffusers wrote: five network evaluations, each within 1e-6, clipped
// between.
TEST_P(SamplerOn, DdimEqualsDiffusers) {
  Loaded m(GetParam());
  const SafetensorsFile file(golden::folder() / "pipeline" / "samples.safetensors");
  const Shape nchw{3, 3, 8, 8}, nhwc{3, 8, 8, 3};
  SampleRequest request{.ids = {0, 1, 2}, .device = GetParam()};
  request.initial_noise = from_vector(nchw_to_nhwc(file.read_as_float32("noise"), nchw), nhwc, GetParam());
  const Tensor x = sample(m.unet, m.plan(kDdim, 5), request);
  EXPECT_EQ(x.shape(), nhwc);
  const std::vector<float> ours = nhwc_to_nchw(to_vector<float>(x), nhwc);
  EXPECT_LE(golden::relative_error(ours, file.read_as_float32("samples")), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(All, SamplerOn, ::testing::Values(Device::kCpu, Device::kReference),
                         [](const auto& info) { return std::string(name_of(info.param)); });

// Image k of seed s: the same bits alone, in any batch, in any company.
TEST(Sampler, BatchSizeChangesNoBit) {
  Loaded m(Device::kCpu);
  for (const auto kind : {kDdpm, kDdim}) {
    const SamplingPlan plan = m.plan(kind, 4, 0.5);
    const auto run = [&](std::vector<int64_t> ids, int batch_size) {
      return to_vector<float>(
          sample(m.unet, plan, {.ids = std::move(ids), .seed = 3, .batch_size = batch_size}));
    };
    const std::vector<float> all = run({0, 1, 2, 3, 4}, 5);
    EXPECT_EQ(run({0, 1, 2, 3, 4}, 1), all);
    EXPECT_EQ(run({0, 1, 2, 3, 4}, 2), all);
    const size_t size = all.size() / 5;
    EXPECT_EQ(run({3}, 16), std::vector<float>(all.begin() + 3 * size, all.begin() + 4 * size));
    EXPECT_NE(run({5}, 1), run({3}, 1));
  }
}

// The same with channels as in practice, where convolutions and matrix products take their fast, blocked
// paths, and whose blocks need not divide the batch.
TEST(Sampler, BatchSizeChangesNoBitWithManyChannels) {
  UNetConfig config;
  config.block_out_channels = {64, 128};
  config.down_block_types = {"DownBlock2D", "AttnDownBlock2D"};
  config.up_block_types = {"AttnUpBlock2D", "UpBlock2D"};
  config.layers_per_block = 1;
  config.sample_size = {{16, 16}};
  for (const DType activations : {DType::kFloat32, DType::kBFloat16}) {
    UNet unet(config);
    FlatParameters parameters(unet, {.compute = activations, .gradients = false});
    golden::fill(parameters);
    const SamplingPlan plan = make_plan(defaults_of(kDdim), 2);
    const auto run = [&](int batch_size) {
      return to_vector<float>(
          sample(unet, plan, {.ids = {0, 1, 2, 3, 4}, .batch_size = batch_size, .activations = activations}));
    };
    const std::vector<float> all = run(5);
    for (const int batch_size : {1, 2, 3})
      EXPECT_TRUE(run(batch_size) == all) << batch_size << " " << name_of(activations);
  }
}

TEST(Sampler, SeedsDiffer) {
  Loaded m(Device::kCpu);
  const SamplingPlan plan = m.plan(kDdim, 2);
  const auto run = [&](uint64_t seed) {
    return to_vector<float>(sample(m.unet, plan, {.ids = {0}, .seed = seed}));
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

// DDPM written out: x_T and the noise of step i from Philox, the network, the formula.
TEST(Sampler, DdpmIsWhatThePaperSays) {
  Loaded m(Device::kReference, DType::kFloat64);
  const SamplingPlan plan = m.plan(kDdpm, 6);
  const std::vector<int64_t> ids = {2, 9};
  const uint64_t seed = 77;
  const Shape shape{2, 8, 8, 3};
  constexpr int64_t kSize = 8 * 8 * 3;
  std::vector<double> x(2 * kSize);
  for (int n = 0; n < 2; ++n)
    for (int64_t i = 0; i < kSize; ++i)
      x[n * kSize + i] = normal_at(seed, random_stream(DiffusionPurpose::kSampleStart), ids[n], i);
  const NoGrad no_grad;
  for (int step = 0; step < plan.evaluations(); ++step) {
    const std::vector<int> t(2, static_cast<int>(plan.steps[step].time));
    const Tensor prediction = m.unet.forward(from_vector(x, shape, Device::kReference),
                                             timesteps_tensor(m.unet.config(), t, Device::kReference));
    const std::vector<double> e = to_vector<double>(prediction);
    const SamplerStep& s = plan.steps[step].update;
    for (int64_t i = 0; i < 2 * kSize; ++i) {
      const double z =
          normal_at(seed, random_stream(DiffusionPurpose::kSampleNoise, step), ids[i / kSize], i % kSize);
      const double x0 = std::clamp(double{s.x0_x} * x[i] + double{s.x0_m} * e[i], -1.0, 1.0);
      x[i] = double{s.y_x} * x[i] + double{s.y_m} * e[i] + double{s.y_x0} * x0 + double{s.sigma} * z;
    }
  }
  const SampleRequest request{
      .ids = ids, .seed = seed, .device = Device::kReference, .activations = DType::kFloat64};
  EXPECT_LE(golden::relative_error(to_vector<double>(sample(m.unet, plan, request)), x), 1e-12);
}

// Thresholding with a maximum of 1 is a clamp to +-1, by another route.
TEST(Sampler, ThresholdingAtOneIsClipping) {
  Loaded m(Device::kCpu);
  SchedulerConfig clip = m.folder.scheduler;
  SchedulerConfig threshold = clip;
  threshold.thresholding = true;
  const SampleRequest request{.ids = {0, 1}, .seed = 5};
  const std::vector<float> a = to_vector<float>(sample(m.unet, make_plan(clip, 5), request));
  const std::vector<float> b = to_vector<float>(sample(m.unet, make_plan(threshold, 5), request));
  EXPECT_LE(golden::relative_error(b, a), 1e-5);
}

TEST(Sampler, OtherSizesAndProgress) {
  Loaded m(Device::kCpu);
  std::vector<int64_t> seen;
  SampleRequest request{.ids = {0, 1, 2}, .height = 4, .width = 12, .batch_size = 2};
  request.progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 6);
    seen.push_back(done);
  };
  EXPECT_EQ(sample(m.unet, m.plan(kDdim, 3), request).shape(), (Shape{3, 4, 12, 3}));
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
}

TEST(Sampler, RefusesWhatItCannotDo) {
  Loaded m(Device::kCpu);
  const SamplingPlan plan = m.plan(kDdim, 2);
  const auto refused = [&](const SampleRequest& request) {
    try {
      sample(m.unet, plan, request);
    } catch (const Error& e) {
      return e.fault == Fault::kBadInput;
    }
    return false;
  };
  EXPECT_TRUE(refused({.ids = {}}));
  EXPECT_TRUE(refused({.ids = {0}, .batch_size = 0}));
  EXPECT_TRUE(refused({.ids = {0}, .height = 7, .width = 8}));
  SampleRequest noise{.ids = {0}};
  noise.initial_noise = zeros({1, 8, 8, 1}, DType::kFloat32, Device::kCpu);
  EXPECT_TRUE(refused(noise));
}

// round(clamp(x/2 + 1/2) * 255), halves to even, as numpy does it.
TEST(Sampler, Pixels) {
  const Tensor x =
      from_vector<float>({-2, -1, 0, 1, 1.5, 1.0f / 255, -0.5, 0.25}, {1, 2, 2, 2}, Device::kCpu);
  EXPECT_EQ(to_pixels(x), (std::vector<uint8_t>{0, 0, 128, 255, 255, 128, 64, 159}));
}

}  // namespace
}  // namespace imago
