#include "apps/common/evaluate_options.h"

#include <algorithm>
#include <charconv>

#include "apps/common/command_line.h"
#include "kernels/error.h"

namespace imago {
namespace {

using enum Metric;

constexpr std::pair<Metric, const char*> kMetrics[] = {{kBits, "bits"},           {kLoss, "loss"},
                                                       {kFrechet, "frechet"},     {kKernel, "kernel"},
                                                       {kPrecision, "precision"}, {kNeighbours, "neighbours"},
                                                       {kAccuracy, "accuracy"}};

/// The parts of "a,b,c".
std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

template <class T>
std::vector<T> numbers_of(const std::string& option, const std::string& text, T least, const char* expected) {
  std::vector<T> numbers;
  if (text.empty()) return numbers;
  for (const std::string& part : parts_of(text)) {
    T number{};
    const char* end = part.data() + part.size();
    const auto [rest, error] = std::from_chars(part.data(), end, number);
    if (error != std::errc() || rest != end || !(number >= least))
      bad_input(option, ": expected ", expected, ", not \"", part, "\"");
    numbers.push_back(number);
  }
  return numbers;
}

Metric metric_of(const std::string& name) {
  std::string known;
  for (const auto& [metric, its_name] : kMetrics) {
    if (name == its_name) return metric;
    known += (known.empty() ? "" : ", ") + std::string(its_name);
  }
  bad_input("--metrics: expected some of ", known, ", not \"", name, "\"");
}

/// All that what was given allows. Whether features say a class shows when they are opened.
std::set<Metric> possible_metrics(const EvaluateOptions& o) {
  std::set<Metric> metrics;
  const bool samples = !o.model.empty() || !o.samples.empty();
  if (!o.model.empty() && !o.data.empty() && o.samples.empty()) metrics.insert({kBits, kLoss});
  if (samples && !o.data.empty()) metrics.insert(kNeighbours);
  if (samples && !o.data.empty() && !o.features.empty()) metrics.insert({kFrechet, kKernel, kPrecision});
  if (samples && !o.features.empty()) metrics.insert(kAccuracy);
  return metrics;
}

void check_metrics(const EvaluateOptions& o) {
  for (const Metric metric : o.metrics) {
    const auto need = [&](const std::string& value, const char* option) {
      if (value.empty()) bad_input(option, ": needed for --metrics ", name_of(metric));
    };
    if (metric == kBits || metric == kLoss) need(o.model, "--model");
    if (metric != kAccuracy) need(o.data, "--data");
    if (metric != kBits && metric != kLoss && metric != kNeighbours) need(o.features, "--features");
    if (o.model.empty() && o.samples.empty()) bad_input("--model or --samples: expected what to evaluate");
  }
  if (o.metrics.empty()) bad_input("nothing to measure: expected --data, --features or both");
  const bool sweep = !o.sweep_schedulers.empty() || !o.sweep_steps.empty() || !o.sweep_guidance.empty();
  if (sweep && (!o.samples.empty() || !o.needs_samples()))
    bad_input("--sweep_schedulers, --sweep_steps, --sweep_guidance: need samples of a model to measure");
}

}  // namespace

const char* name_of(Metric metric) {
  for (const auto& [known, name] : kMetrics)
    if (known == metric) return name;
  return "?";
}

bool EvaluateOptions::needs_samples() const {
  return std::any_of(metrics.begin(), metrics.end(), [](Metric m) { return m != kBits && m != kLoss; });
}

bool EvaluateOptions::needs_features() const {
  return asks_for(kFrechet) || asks_for(kKernel) || asks_for(kPrecision);
}

std::optional<EvaluateOptions> parse_evaluate_options(int argc, const char* const* argv) {
  EvaluateOptions o;
  std::string metrics, schedulers, steps, guidance;
  CommandLine cli(
      "evaluate_ddpm",
      "Measures a trained model: likelihood of images that it has not seen, and how far its samples "
      "are from real images.\n\n"
      "  evaluate_ddpm --model runs/one --data fashion-mnist --features classifier --output figures\n");
  cli.heading("What to evaluate");
  cli.text("--model", o.model, "A diffusers pipeline folder, or a checkpoint of train_ddpm");
  cli.flag("--raw_weights", o.raw_weights,
           "Of a checkpoint, take the weights themselves instead of their moving average");
  cli.text("--samples", o.samples, "A folder or file of images: evaluate these instead of sampling");
  cli.text("--metrics", metrics,
           "Some of bits,loss,frechet,kernel,precision,neighbours,accuracy; default: all that is possible");
  cli.heading("What to compare with");
  cli.text("--data", o.data, "A set of images: a folder, IDX files, CIFAR-10, Parquet");
  cli.choice("--split", o.split, {"train", "test"}, "Of the data, where they have both");
  cli.whole_number("--num_data_images", o.num_data_images, 2, "Compare samples with so many; default: all");
  cli.whole_number("--resolution", o.resolution, 1, "Side of the images; default: the model's sample_size");
  cli.text("--features", o.features,
           "The network that images are compared by: a folder of train_classifier, or Inception-v3 as "
           "safetensors");
  cli.heading("Likelihood");
  cli.whole_number("--likelihood_images", o.likelihood_images, 1, "Of the data, for bits and loss");
  cli.whole_number("--num_timesteps", o.num_timesteps, 2,
                   "Look at so many times of the chain for each image; default: 50; 1000 is exact where the "
                   "model has so many");
  cli.heading("Sampling");
  cli.whole_number("--num_images", o.num_images, 2,
                   "Images to sample; of --samples, how many to take at most");
  cli.seed("--seed", o.seed, "Of all that is drawn");
  cli.whole_number("--class_label", o.class_label, 0, "Class of all images; default: as many of each class");
  cli.number("--guidance_scale", o.guidance_scale, NumberRange::at_least(0),
             "1: none; more: further towards the class, for models that were trained with class dropout");
  cli.numbers("--guidance_interval", o.guidance_interval, NumberRange::at_least(0),
              "Guide only at noise levels sigma with LO < sigma <= HI");
  o.sampler.declare(cli);
  cli.heading("Sweep: every combination in one table");
  cli.text("--sweep_schedulers", schedulers, "For example ddpm,ddim,dpmsolver++,unipc,heun,euler");
  cli.text("--sweep_steps", steps, "For example 5,10,20,50");
  cli.text("--sweep_guidance", guidance, "Guidance scales, for example 1,2,4");
  cli.heading("Machine");
  cli.whole_number("--batch_size", o.batch_size, 1, "Images that go through a network together");
  cli.choice("--device", o.device, {"auto", "cpu", "cuda"}, "Where to compute");
  cli.choice("--mixed_precision", o.mixed_precision, {"no", "bf16"}, "bf16: bfloat16 inside the U-Net");
  cli.heading("Output");
  cli.text("--output", o.output, "A folder for evaluation.json, evaluation.html and images");
  if (!cli.parse(argc, argv)) return std::nullopt;
  o.sampler.take(cli);
  for (const auto& [name, value] : cli.values())
    if (cli.given(name)) o.given.emplace_back(name, value);
  if (!schedulers.empty()) o.sweep_schedulers = parts_of(schedulers);
  o.sweep_steps = numbers_of<int>("--sweep_steps", steps, 1, "whole numbers >= 1 with commas between");
  o.sweep_guidance = numbers_of<double>("--sweep_guidance", guidance, 0, "numbers >= 0 with commas between");
  o.metrics_given = !metrics.empty();
  if (o.metrics_given)
    for (const std::string& name : parts_of(metrics)) o.metrics.insert(metric_of(name));
  else
    o.metrics = possible_metrics(o);
  if (o.model.empty() && o.samples.empty()) bad_input("--model or --samples: expected what to evaluate");
  check_metrics(o);
  return o;
}

}  // namespace imago
