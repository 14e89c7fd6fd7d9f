// The report of an evaluation: figures arrive in the page, the table and the JSON; what was not measured does
// not.
#include "models/evaluation/evaluation_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/image/png.h"

namespace imago {
namespace {

SamplesReport point(const std::string& sampler, int steps, double distance) {
  return {.sampler = sampler,
          .steps = steps,
          .evaluations = 2 * steps - 1,
          .images = 1000,
          .frechet_distance = distance};
}

Evaluation sweep() {
  Evaluation e;
  e.title = "garments <one>";
  e.settings = {{"seed", "7"}};
  e.samples = {point("heun", 20, 3.5), point("heun", 5, 40.25), point("ddim", 5, 20), point("ddim", 20, 5)};
  return e;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(EvaluationReport, ASweepHasACurveForEachSampler) {
  const std::string page = format_evaluation(sweep());
  EXPECT_TRUE(contains(page, "Frechet distance by number of steps"));
  EXPECT_TRUE(contains(page, "data-name=\"heun\""));
  EXPECT_TRUE(contains(page, "data-name=\"ddim\""));
  EXPECT_TRUE(contains(page, "<td>40.250</td>"));
  EXPECT_TRUE(contains(page, "garments &lt;one&gt;"));
  EXPECT_FALSE(contains(page, "precision"));
  Evaluation one = sweep();
  one.samples.resize(1);
  EXPECT_FALSE(contains(format_evaluation(one), "by number of steps"));
}

TEST(EvaluationReport, TheTableHasTheColumnsThatWereMeasured) {
  std::vector<SamplesReport> samples = sweep().samples;
  EXPECT_EQ(format_samples_table({samples[0], samples[2]}),
            "sampler  steps  evaluations  images  Frechet\n"
            "heun        20           39   1,000    3.500\n"
            "ddim         5            9   1,000   20.000\n");
  EXPECT_EQ(format_sample_line(samples[2]),
            "sampler ddim, steps 5, evaluations 9, images 1,000, Frechet 20.000");
  samples[2].accuracy = 0.5;
  samples[2].guidance_scale = 2;
  EXPECT_EQ(format_samples_table({samples[0], samples[2]}),
            "sampler  steps  evaluations  guidance  images  Frechet  accuracy\n"
            "heun        20           39         \u2013   1,000    3.500         \u2013\n"
            "ddim         5            9         2   1,000   20.000    50.0 %\n");
}

TEST(EvaluationReport, JsonHasEveryFigureUnrounded) {
  Evaluation e = sweep();
  e.samples[0].kernel_distance = KernelDistance{0.1 / 3, 0.01, 100, 1000};
  e.samples[0].precision_recall = PrecisionRecall{0.7, 0.6};
  e.samples[0].accuracy = 2.0 / 3;
  e.likelihood = LikelihoodReport{10, 1000, 50, {3.25, 0.125}, {0.25, 2, 1}, {{4, 1.5, 0.1, 0.2}, {}}};
  e.loss = LossReport{20, 0.03, "timestep", {{0, 499, 0.05, 10}, {500, 999, 0.01, 10}}};
  const nlohmann::json j = to_json(e);
  EXPECT_EQ(j["settings"]["seed"], "7");
  EXPECT_EQ(j["samples"].size(), 4u);
  EXPECT_EQ(j["samples"][0]["kernel_distance"]["mean"], 0.1 / 3);
  EXPECT_EQ(j["samples"][0]["precision"], 0.7);
  EXPECT_EQ(j["samples"][0]["accuracy"], 2.0 / 3);
  EXPECT_FALSE(j["samples"][1].contains("accuracy"));
  EXPECT_EQ(j["likelihood"]["bits_per_dimension"], 3.25);
  EXPECT_EQ(j["likelihood"]["by_timestep"].size(), 1u);  // nothing was looked at the second
  EXPECT_EQ(j["loss"]["bins"][1]["last"], 499 + 500);
  EXPECT_TRUE(contains(format_evaluation(e), "Loss by timestep"));
}

// EDM's times are logarithms, on both sides of zero.
TEST(EvaluationReport, TheAxisOfTimesBeginsWhereTheyDo) {
  Evaluation e;
  e.title = "edm";
  e.loss = LossReport{20, 0.5, "ln sigma", {{-4, -2, 1, 10}, {1, 2, 0.2, 10}}};
  EXPECT_TRUE(contains(format_evaluation(e), "data-x=\"ln sigma\" data-range=\"-3 1.5 "));
}

TEST(EvaluationReport, HoldsItsImages) {
  Evaluation e = sweep();
  e.images = {{"Samples & more", encode_png(std::vector<uint8_t>(12), 3, 4, 1)}};
  EXPECT_TRUE(contains(format_evaluation(e), "<h2>Samples &amp; more</h2>\n<img alt=\"Samples &amp; more\""));
}

}  // namespace
}  // namespace imago
