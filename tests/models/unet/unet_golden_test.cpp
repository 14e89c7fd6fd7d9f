// The whole U-Net against diffusers' UNet2DModel: the output, and the gradient with respect to every
// parameter and to the input.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "engine/io/safetensors.h"
#include "models/unet/unet.h"
#include "tests/models/golden.h"

namespace imago {
namespace {

struct Case {
  SafetensorsFile file;
  UNetConfig config;
  std::vector<float> times;
  std::vector<int> labels;
  Shape input, output;  // [N,H,W,C]

  explicit Case(const std::string& name) : file(golden::folder() / ("unet_" + name + ".safetensors")) {
    std::vector<std::string> warnings;
    const nlohmann::json about = parse_json(file.metadata().at("about"), name);
    config = parse_unet_config(about.at("config"), name, warnings);
    EXPECT_TRUE(warnings.empty());
    times = about.at("times").get<std::vector<float>>();
    if (!about.at("labels").is_null()) labels = about.at("labels").get<std::vector<int>>();
    const auto& size = config.sample_size.value();
    input = {2, size[0], size[1], config.in_channels};
    output = {2, size[0], size[1], config.out_channels};
  }

  Tensor timesteps(Device device) const {
    if (config.time_embedding_type == "fourier") return from_vector(times, {2}, device);
    return timesteps_tensor(config, {times.begin(), times.end()}, device);
  }

  Tensor class_labels(DType dtype, Device device) const {
    if (!config.takes_class_labels()) return {};
    const Shape shape{2, config.time_width()};
    if (config.class_embed_type == "identity")
      return golden::on_device(golden::numbers("labels", shape), shape, dtype, device);
    return class_labels_tensor(config, labels, device);
  }
};

// Everything that backward leaves behind, in diffusers' names and layout.
using Results = std::map<std::string, std::vector<double>>;

std::vector<double> in_nchw(const Tensor& x) {
  const std::vector<double> host = golden::to_doubles(x);
  if (x.shape().rank() != 4) return host;
  std::vector<double> out(host.size());
  const int64_t n = x.dim(0), p = x.dim(1) * x.dim(2), c = x.dim(3);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < p; ++j)
      for (int64_t k = 0; k < c; ++k) out[(i * c + k) * p + j] = host[(i * p + j) * c + k];
  return out;
}

Results run(const Case& c, DType dtype, Device device, bool checkpointing) {
  UNet model(c.config);
  FlatParameters parameters(model, {.device = device, .master = dtype, .compute = dtype});
  golden::fill(parameters);
  parameters.zero_gradients();
  model.set_gradient_checkpointing(checkpointing);
  Tensor x = golden::on_device(golden::images("x", c.input), c.input, dtype, device);
  x.set_requires_grad(true);
  const Tensor y = model.forward(x, c.timesteps(device), c.class_labels(dtype, device));
  backward(y, golden::on_device(golden::images("dy", c.output), c.output, dtype, device));

  Results results = {{"output", in_nchw(y)}, {"grad:x", in_nchw(x.grad())}};
  for (const FlatParameters::Entry& e : parameters.entries())
    if (e.parameter->trainable)
      results["grad:" + e.name] = in_nchw(parameters.view(parameters.gradients(), e));
  return results;
}

void expect_equal_to_diffusers(const Case& c, const Results& results, double output_tolerance,
                               double gradient_tolerance) {
  ASSERT_EQ(results.size(), c.file.entries().size());
  double worst = 0;
  std::string where;
  for (const auto& [name, ours] : results) {
    ASSERT_TRUE(c.file.contains(name)) << name;
    const std::vector<float> theirs = c.file.read_as_float32(name);
    if (name.ends_with("to_k.bias")) {
      // A constant added to all keys cancels in the softmax: this gradient is zero but for rounding. What is
      // left must be small beside the gradient of the layer's weights.
      const std::string weight = name.substr(0, name.size() - 4) + "weight";
      EXPECT_LE(golden::norm(ours), gradient_tolerance * golden::norm(results.at(weight))) << name;
      continue;
    }
    const double error = golden::relative_error(ours, theirs);
    EXPECT_LE(error, name == "output" ? output_tolerance : gradient_tolerance) << name;
    if (name == "output") ::testing::Test::RecordProperty("output_error", std::to_string(error));
    if (name != "output" && error > worst) worst = error, where = name;
  }
  ::testing::Test::RecordProperty("worst_gradient_error", std::to_string(worst) + " " + where);
  if (std::getenv("IMAGO_VERBOSE"))
    std::printf("output %.2e, worst gradient %.2e (%s)\n",
                golden::relative_error(results.at("output"), c.file.read_as_float32("output")), worst,
                where.c_str());
}

class UNetGolden : public ::testing::TestWithParam<const char*> {};

// float32: 1e-5 and 1e-4, the promise to users.
TEST_P(UNetGolden, CpuFloat32) {
  const Case c(GetParam());
  expect_equal_to_diffusers(c, run(c, DType::kFloat32, Device::kCpu, false), 1e-5, 1e-4);
}

TEST_P(UNetGolden, ReferenceFloat32) {
  const Case c(GetParam());
  expect_equal_to_diffusers(c, run(c, DType::kFloat32, Device::kReference, false), 1e-5, 1e-4);
}

// float64: what is left is the file's float32 (2^-24 = 6e-8 an element) and the time features, which
// diffusers computes in float32 whatever the model is: the angle 999 f is rounded by up to 2^-15 = 3e-5.
TEST_P(UNetGolden, ReferenceFloat64) {
  const Case c(GetParam());
  expect_equal_to_diffusers(c, run(c, DType::kFloat64, Device::kReference, false), 1e-6, 1e-6);
}

// Checkpointing computes the same numbers twice. Gradients that meet, of a skip connection and of the block
// below it, are added in another order: float64 rounding, 2^-53 for each of at most some thousand terms.
TEST_P(UNetGolden, CheckpointingChangesNothing) {
  const Case c(GetParam());
  const Results kept = run(c, DType::kFloat64, Device::kReference, false);
  const Results again = run(c, DType::kFloat64, Device::kReference, true);
  ASSERT_EQ(kept.size(), again.size());
  EXPECT_TRUE(kept.at("output") == again.at("output"));
  for (const auto& [name, gradient] : kept)
    if (!name.ends_with("to_k.bias")) {
      EXPECT_LE(golden::relative_error(again.at(name), gradient), 1e-12) << name;
    }
}

INSTANTIATE_TEST_SUITE_P(All, UNetGolden,
                         ::testing::Values("head_dim_8", "google_ddpm", "scale_shift", "class_table",
                                           "class_timestep", "fourier", "learned_identity",
                                           "resnet_resampling", "odd_width"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace imago
