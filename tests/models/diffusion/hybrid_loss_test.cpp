// The loss of a model that learns its variance: the numbers of an independent computation, what reaches the
// mean and what the variance, and what it cannot be computed for.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "engine/io/safetensors.h"
#include "engine/ops/elementwise.h"
#include "models/diffusion/objective.h"
#include "models/diffusion/ops.h"
#include "tests/models/golden.h"
#include "tests/support/gradient_check.h"

namespace imago {
namespace {

using nlohmann::json;

const Shape kImage{6, 5, 3};  // of make_golden.py

SchedulerConfig learned_range(const json& keys = json::object()) {
  json object = {{"_class_name", "DDPMScheduler"}, {"variance_type", "learned_range"}};
  object.update(keys);
  std::vector<std::string> warnings;
  return parse_scheduler_config(object, "scheduler_config.json", warnings);
}

/// A sample that the objective trains at time t.
int64_t id_at(const Objective& objective, int t) {
  for (int64_t id = 0;; ++id)
    if (objective.timestep_of(id) == t) return id;
}

/// One of make_golden.py's images, in the middle of a training step.
struct GoldenImage {
  MicroBatch batch;
  Tensor prediction, target;  // [1,H,W,2C], [1,H,W,C]

  GoldenImage(const Objective& objective, int t, double off, DType type, Device device) {
    const SampleNumbers numbers = objective.numbers_of(id_at(objective, t));
    const auto uniform = [&](const char* what) { return golden::uniform(str(what, " ", t), kImage.numel()); };
    const std::vector<double> x = uniform("x0"), noise = uniform("noise"), error = uniform("error"),
                              o = uniform("o");
    std::vector<uint8_t> bytes;
    std::vector<double> targets, predictions;
    for (size_t i = 0; i < x.size(); ++i) {
      bytes.push_back(i == 0 ? 0 : i == 1 ? 255 : static_cast<uint8_t>(127.5 * (x[i] + 1)));
      targets.push_back(numbers.coefficients[2] * (bytes[i] / 127.5 - 1) +
                        numbers.coefficients[3] * 1.7 * noise[i]);
    }
    for (size_t position = 0; position < x.size(); position += 3) {
      for (size_t i = position; i < position + 3; ++i) predictions.push_back(targets[i] + off * error[i]);
      for (size_t i = position; i < position + 3; ++i) predictions.push_back(2 * o[i]);
    }
    const DType exact = type == DType::kFloat64 ? type : DType::kFloat32;
    const auto tensor = [&](const std::vector<double>& values, int64_t channels, DType as) {
      const Shape shape{1, kImage[0], kImage[1], channels};
      const std::vector<float> narrow(values.begin(), values.end());
      return as == DType::kFloat64 ? from_vector(values, shape, device)
                                   : cast(from_vector(narrow, shape, device), as);
    };
    target = tensor(targets, 3, exact);
    prediction = tensor(predictions, 6, type);
    batch.images = from_vector(bytes, {1, kImage[0], kImage[1], kImage[2]}, device);
    batch.weights = from_vector<float>({numbers.weight}, {1}, device);
    batch.bound = from_vector(std::vector<float>(numbers.bound.begin(), numbers.bound.end()), {1, 4}, device);
  }
};

// alpha_bar is diffusers' but for a rounding or two of float32, 6e-8 each: of 1 - alpha_bar, which is 6e-3 at
// t = 1 here, that is 2e-5.
TEST(HybridLoss, EqualsAnIndependentComputation) {
  const SafetensorsFile file(golden::folder() / "hybrid_loss.safetensors");
  const json cases = parse_json(file.metadata().at("about"), "hybrid_loss");
  ASSERT_EQ(cases.size(), 4u);
  constexpr double kAllowed = 5e-5;
  for (const auto& [name, about] : cases.items()) {
    json keys = about[0];
    keys["prediction_type"] = name.substr(0, name.find("_min_snr"));
    const bool weighted = !about[3].is_null();
    const Objective objective(learned_range(keys),
                              {.activations = DType::kFloat64,
                               .weighting = weighted ? LossWeighting::kMinSnr : LossWeighting::kOne,
                               .snr_gamma = weighted ? about[3].get<double>() : 5});
    std::vector<double> losses(about[1].size()), gradients(losses.size() * 2 * kImage.numel());
    const auto size = static_cast<int64_t>(losses.size());
    file.read(name + ":loss", {losses.data(), DType::kFloat64, {size}});
    file.read(name + ":gradient", {gradients.data(), DType::kFloat64, {size, kImage[0], kImage[1], 6}});
    for (size_t i = 0; i < losses.size(); ++i) {
      const int t = about[1][i];
      const GoldenImage image(objective, t, about[2], DType::kFloat64, Device::kReference);
      Tensor prediction = image.prediction;
      prediction.set_requires_grad(true);
      const Tensor loss = objective.loss(prediction, image.target, image.batch);  // [1]
      EXPECT_NEAR(to_vector<double>(loss)[0] / losses[i], 1, kAllowed) << name << " at t = " << t;
      backward(loss, from_vector<double>({1}, {1}, Device::kReference));
      const auto first = gradients.begin() + static_cast<int64_t>(i) * 2 * kImage.numel();
      const std::vector<double> expected(first, first + 2 * kImage.numel());
      EXPECT_LE(golden::relative_error(to_vector<double>(prediction.grad()), expected), kAllowed)
          << name << " at t = " << t;
    }
  }
}

/// Where o stands among the numbers of a prediction [..,2C].
bool is_variance(size_t i) {
  return i % 6 >= 3;
}

// The variance gets the whole gradient of the loss, the mean that of the squared error alone.
TEST(HybridLoss, TeachesTheVarianceWithTheBoundAndTheMeanWithoutIt) {
  const Objective objective(learned_range({{"num_train_timesteps", 50}, {"beta_end", 0.3}}),
                            {.activations = DType::kFloat64});
  for (const int t : {0, 1, 30}) {
    const GoldenImage image(objective, t, 0.3, DType::kFloat64, Device::kReference);
    const auto gradient = [&](float lambda) {
      Tensor prediction =
          from_vector(to_vector<double>(image.prediction), image.prediction.shape(), Device::kReference);
      prediction.set_requires_grad(true);
      backward(hybrid_loss(prediction, image.target, image.batch.images,
                           cast(image.batch.weights, DType::kFloat64), image.batch.bound, lambda),
               from_vector<double>({1}, {1}, Device::kReference));
      return to_vector<double>(prediction.grad());
    };
    const auto loss = [&](size_t moved, double by) {
      std::vector<double> values = to_vector<double>(image.prediction);
      values[moved] += by;
      const Tensor prediction = from_vector(values, image.prediction.shape(), Device::kReference);
      const Tensor y = hybrid_loss(prediction, image.target, image.batch.images,
                                   cast(image.batch.weights, DType::kFloat64), image.batch.bound,
                                   is_variance(moved) ? 1.0f : 0.0f);
      return to_vector<double>(y)[0];
    };
    const std::vector<double> with = gradient(1), without = gradient(0);
    for (size_t i = 0; i < with.size(); ++i) {
      constexpr double kStep = 1e-5;
      const double numeric = (loss(i, kStep) - loss(i, -kStep)) / (2 * kStep);
      EXPECT_NEAR(with[i], numeric, 1e-8) << "t = " << t << ", element " << i;
      EXPECT_EQ(without[i], is_variance(i) ? 0 : with[i]);
    }
  }
}

// A prediction in bfloat16 is read as it is, and nothing else is rounded to it.
TEST(HybridLoss, RoundsNothingButThePrediction) {
  const Objective objective(learned_range(), {.activations = DType::kBFloat16});
  for (const int t : {0, 1, 500}) {
    const GoldenImage rounded(objective, t, 0.3, DType::kBFloat16, Device::kCpu);
    const Tensor wide = cast(rounded.prediction, DType::kFloat32);  // [1,H,W,2C]
    EXPECT_EQ(to_vector<float>(objective.loss(rounded.prediction, rounded.target, rounded.batch)),
              to_vector<float>(objective.loss(wide, rounded.target, rounded.batch)));
  }
}

TEST(HybridLoss, WhatHasNoBoundIsRefused) {
  const auto refused = [](const SchedulerConfig& config, const char* part) {
    try {
      UNetConfig model;
      model.out_channels = 6;
      Objective(config, {}).check_output(model);
      ADD_FAILURE() << "accepted; expected a line with " << part;
    } catch (const Error& e) {
      EXPECT_EQ(e.fault, Fault::kBadInput);
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  SchedulerConfig variance = learned_range();
  variance.variance_type = "learned";
  refused(variance, "learned_range");
  refused(learned_range({{"rescale_betas_zero_snr", true}}), "no signal");
  refused(learned_range({{"trained_betas", {0.1, 0.0, 0.1}}}), "at t = 1");
}

TEST(HybridLoss, ModelsHaveTwiceTheChannels) {
  UNetConfig model;
  const SchedulerConfig default_config, learned_config = learned_range();
  const Objective fixed(default_config, {}), learned(learned_config, {});
  EXPECT_EQ(fixed.output_channels(3), 3);
  EXPECT_EQ(learned.output_channels(3), 6);
  fixed.check_output(model);
  EXPECT_THROW(learned.check_output(model), Error);
  model.out_channels = 6;
  learned.check_output(model);
  EXPECT_THROW(fixed.check_output(model), Error);
}

}  // namespace
}  // namespace imago
