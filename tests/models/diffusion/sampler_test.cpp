// From noise to images: equal to diffusers, the same bits in any batch, refused where it makes no sense.
#include <gtest/gtest.h>

#include "engine/io/safetensors.h"
#include "engine/ops/elementwise.h"
#include "engine/tensor/allocator.h"
#include "kernels/philox.h"
#include "models/diffusion/pipeline_folder.h"
#include "models/diffusion/sampler.h"
#include "models/diffusion/streams.h"
#include "models/pixels.h"
#include "models/unet/inputs.h"
#include "models/weights.h"
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

// Every class, through the same update: the CPU's vectors against plain loops, from the same noise. Roundings
// of a dozen evaluations, at the noisiest level multiplied by up to 160 where nothing clips x_0.
TEST_P(SamplerOn, EverySamplerFollowsFloat64) {
  Loaded m(GetParam()), exact(Device::kReference, DType::kFloat64);
  for (const auto kind : {kDdpm, kDdim, SchedulerConfig::Kind::kDpmSolver, SchedulerConfig::Kind::kUniPc,
                          SchedulerConfig::Kind::kEuler, SchedulerConfig::Kind::kEulerAncestral,
                          SchedulerConfig::Kind::kHeun}) {
    SchedulerConfig config = as_kind(m.folder.scheduler, kind);
    config.solver_order = 3;
    const SamplingPlan plan = make_plan(config, 6);
    SampleRequest request{.ids = {0, 1, 2}, .seed = 4, .batch_size = 2, .device = GetParam()};
    const std::vector<float> x = to_vector<float>(sample(m.unet, plan, request));
    request.device = Device::kReference;
    request.activations = DType::kFloat64;
    EXPECT_LE(golden::relative_error(x, to_vector<double>(sample(exact.unet, plan, request))), 1e-4)
        << name_of(kind);
  }
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

/// A small model of five classes, the last of which is none, that predicts a variance where asked to.
struct ClassModel {
  static UNetConfig config(bool variance) {
    UNetConfig c = read_pipeline_folder(golden::folder() / "pipeline").unet;
    c.num_class_embeds = 5;
    c.imago_null_class = 4;
    if (variance) c.out_channels = 2 * c.in_channels;
    return c;
  }
  explicit ClassModel(bool variance = false)
      : unet(config(variance)), parameters(unet, {.gradients = false}) {
    golden::fill(parameters);
  }
  std::vector<float> sampled(const SamplingPlan& plan, int label, const Guidance& guidance) {
    SampleRequest request{.ids = {0, 1}, .seed = 6, .guidance = guidance};
    request.class_labels = class_labels_tensor(unet.config(), {label, label}, Device::kCpu);
    return to_vector<float>(sample(unet, plan, request));
  }
  UNet unet;
  FlatParameters parameters;
};

// After the first steps, which make what stays, the allocator hands out the same blocks again.
TEST(Sampler, SteadyStateAllocatesNothing) {
  ClassModel m;
  for (const auto kind : {kDdpm, SchedulerConfig::Kind::kUniPc, SchedulerConfig::Kind::kHeun}) {
    const SamplingPlan plan = make_plan(as_kind(SchedulerConfig{}, kind), 10);
    SampleRequest request{.ids = {0, 1}, .guidance = {.scale = 2}};
    request.class_labels = class_labels_tensor(m.unet.config(), {0, 1}, Device::kCpu);
    std::vector<MemoryStats> stats;
    request.progress = [&](int64_t, int64_t) { stats.push_back(allocator_of(Device::kCpu).stats()); };
    sample(m.unet, plan, request);
    EXPECT_EQ(stats.back().device_allocations, stats[2].device_allocations) << name_of(kind);
    EXPECT_EQ(stats.back().bytes_in_use, stats[2].bytes_in_use) << name_of(kind);
  }
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

// One step of DDIM without clipping is linear in epsilon: x(w) = x_u + w (x_c - x_u). At t = 0, where nothing
// is multiplied by 1 / sqrt(alpha_bar); the network computes in batches of two and of four.
TEST(Sampler, GuidanceGoesOnFromTheUnconditional) {
  ClassModel m;
  SchedulerConfig config = defaults_of(kDdim);
  config.clip_sample = false;
  const SamplingPlan plan = make_plan(config, 1);
  const std::vector<float> with = m.sampled(plan, 2, {}), without = m.sampled(plan, 4, {});
  EXPECT_GT(golden::relative_error(with, without), 1e-4);
  std::vector<float> expected;
  for (size_t i = 0; i < with.size(); ++i) expected.push_back(without[i] + 3 * (with[i] - without[i]));
  EXPECT_LE(golden::relative_error(m.sampled(plan, 2, {.scale = 3}), expected), 1e-5);
  EXPECT_LE(golden::relative_error(m.sampled(plan, 2, {.scale = 0}), without), 1e-6);
}

TEST(Sampler, GuidanceOutsideItsIntervalIsNone) {
  ClassModel m;
  const SamplingPlan plan = make_plan(defaults_of(kDdim), 6);
  const std::vector<float> none = m.sampled(plan, 1, {}), all = m.sampled(plan, 1, {.scale = 4});
  EXPECT_EQ(m.sampled(plan, 1, {.scale = 4, .low = 1e6}), none);
  EXPECT_EQ(m.sampled(plan, 1, {.scale = 4, .low = 0, .high = 1e6}), all);
  const std::vector<float> some = m.sampled(plan, 1, {.scale = 4, .low = 0.2, .high = 3});
  EXPECT_NE(some, none);
  EXPECT_NE(some, all);
}

TEST(Sampler, GuidanceNeedsAModelThatKnowsNone) {
  ClassModel m;
  Loaded plain(Device::kCpu);
  const SamplingPlan plan = make_plan(defaults_of(kDdim), 2);
  EXPECT_THROW(sample(plain.unet, plan, {.ids = {0}, .guidance = {.scale = 2}}), Error);
}

TEST(Sampler, LearnedVarianceNeedsItsChannels) {
  SchedulerConfig config;
  config.variance_type = "learned_range";
  const SamplingPlan plan = make_plan(config, 5);
  ClassModel with(true), without(false);
  const std::vector<float> x = with.sampled(plan, 0, {.scale = 2});
  EXPECT_TRUE(std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); }));
  EXPECT_THROW(without.sampled(plan, 0, {}), Error);
  EXPECT_NE(with.sampled(make_plan(SchedulerConfig{}, 5), 0, {.scale = 2}), x);  // the variance matters
}

Tensor halves(const Shape& shape, float left, float right) {
  std::vector<float> x;
  for (int64_t i = 0; i < shape.numel(); ++i)
    x.push_back(i / shape[3] % shape[2] < shape[2] / 2 ? left : right);
  return from_vector(x, shape, Device::kCpu);
}

// What is known comes back as it was; where nothing is known, sampling is as ever.
TEST(Sampler, InpaintingKeepsWhatIsKnown) {
  Loaded m(Device::kCpu);
  const Shape shape{2, 8, 8, 3};
  const SamplingPlan plan = make_plan(defaults_of(kDdpm), 5);
  const auto run = [&](const Tensor& mask, int resample) {
    SampleRequest request{.ids = {0, 1}, .seed = 9};
    request.inpainting = {halves(shape, 0.5f, -0.25f), mask, resample};
    return to_vector<float>(sample(m.unet, plan, request));
  };
  const std::vector<float> free = to_vector<float>(sample(m.unet, plan, {.ids = {0, 1}, .seed = 9}));
  EXPECT_EQ(run(halves(shape, 0, 0), 1), free);
  for (const int resample : {1, 3}) {
    const std::vector<float> x = run(halves(shape, 1, 0), resample);
    for (size_t i = 0; i < x.size(); ++i)
      if (i / 3 % 8 < 4)
        ASSERT_EQ(x[i], 0.5f) << i;
      else
        ASSERT_NE(x[i], -0.25f) << i;
  }
  EXPECT_NE(run(halves(shape, 1, 0), 3), run(halves(shape, 1, 0), 1));
  SampleRequest multistep{.ids = {0, 1}};
  multistep.inpainting = {halves(shape, 0, 0), halves(shape, 0, 0), 1};
  EXPECT_THROW(sample(m.unet, make_plan(defaults_of(SchedulerConfig::Kind::kUniPc), 5), multistep), Error);
}

// An image that begins at a later step is noised to that step's level, and the rest of the plan follows.
TEST(Sampler, BeginsWithAnImage) {
  Loaded m(Device::kCpu);
  const Shape shape{2, 8, 8, 3};
  const Tensor image = halves(shape, 0.5f, -0.5f), e = scale(halves(shape, -1, 1), 1.5f);
  const SamplingPlan plan = make_plan(defaults_of(kDdim), 8, {.begin = 5});
  SampleRequest request{.ids = {0, 1}, .initial_noise = e, .initial_image = image};
  std::vector<float> first;
  request.watch = [&](int64_t, const Tensor& x, const NoiseLevel&) {
    if (first.empty()) first = to_vector<float>(x);
  };
  sample(m.unet, plan, request);
  const double ab =
      NoiseSchedule(NoiseScheduleConfig{}).alpha_bar(250);  // 875, 750, ..: three steps are left
  for (size_t i = 0; i < first.size(); ++i) {
    const double side = i / 3 % 8 < 4 ? 1 : -1;
    ASSERT_NEAR(first[i], side * (std::sqrt(ab) * 0.5 - std::sqrt(1 - ab) * 1.5), 1e-6);
  }
}

// round(clamp(x/2 + 1/2) * 255), halves to even, as numpy does it.
TEST(Sampler, Pixels) {
  const Tensor x =
      from_vector<float>({-2, -1, 0, 1, 1.5, 1.0f / 255, -0.5, 0.25}, {1, 2, 2, 2}, Device::kCpu);
  EXPECT_EQ(to_pixels(x), (std::vector<uint8_t>{0, 0, 128, 255, 255, 128, 64, 159}));
}

}  // namespace
}  // namespace imago
