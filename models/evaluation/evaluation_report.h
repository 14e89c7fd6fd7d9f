// What an evaluation found, as JSON and as a page.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/report/page.h"
#include "models/evaluation/kernel_distance.h"
#include "models/evaluation/loss_by_time.h"
#include "models/evaluation/neighbours.h"
#include "models/evaluation/variational_bound.h"

namespace imago {

/// A mean over images, and how far it may be off: 95 % of such intervals hold the mean of all images.
struct MeanOverImages {
  double mean, half_width;  // mean +- 1.96 standard errors
};

struct LikelihoodReport {
  int64_t images = 0;
  int timesteps = 0, evaluations = 0;  // of the chain; looked at, an image
  MeanOverImages bits{};               // per dimension
  ImageBound parts = {};               // means of the parts of the bound
  std::vector<TimestepBound> by_timestep = {};
};
LikelihoodReport report_of(const VariationalBound& bound);

struct LossReport {
  int64_t draws = 0;
  double mean = 0;
  std::string time_name = {};
  std::vector<LossBin> bins = {};
};
LossReport report_of(const LossByTime& loss);

/// One set of samples against the reference. What was not asked for is absent.
struct SamplesReport {
  std::string sampler;  // "ddim"; or the folder that the samples come from
  std::optional<int> steps = {}, evaluations = {};
  double guidance_scale = 1;
  int64_t images = 0;
  std::optional<double> frechet_distance = {};
  std::optional<KernelDistance> kernel_distance = {};
  std::optional<PrecisionRecall> precision_recall = {};
  std::optional<double> accuracy = {};  // the share that the classifier takes for the class asked for
};

struct Evaluation {
  std::string title;        // the model's name
  NamesAndValues settings;  // data, seeds, what features: all that the figures depend on
  std::optional<LikelihoodReport> likelihood = {};
  std::optional<LossReport> loss = {};
  std::vector<SamplesReport> samples = {};
  /// PNG bytes with a heading each.
  std::vector<std::pair<std::string, std::string>> images = {};
};

/// Numbers without rounding; names of JSON are those of the fields above.
nlohmann::json to_json(const Evaluation& evaluation);

/// A page that needs no other file: figures at the top, curves by timestep, a table of the samples and, where
/// there are several numbers of steps, the Frechet distance by them for each sampler.
std::string format_evaluation(const Evaluation& evaluation);

/// "sampler ddim, steps 10, images 1,000, Frechet 12.345": one set as it is measured.
std::string format_sample_line(const SamplesReport& samples);

/// The table of samples for a terminal, one line a set.
std::string format_samples_table(const std::vector<SamplesReport>& samples);

}  // namespace imago
