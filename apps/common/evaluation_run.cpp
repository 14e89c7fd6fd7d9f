#include "apps/common/evaluation_run.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/common/command_line.h"
#include "apps/common/evaluated_sets.h"
#include "apps/common/run_app.h"
#include "engine/io/atomic_file.h"
#include "engine/io/json.h"
#include "models/evaluation/class_accuracy.h"
#include "models/evaluation/evaluation_report.h"
#include "models/evaluation/frechet_distance.h"
#include "models/evaluation/tiles.h"
#include "models/trainer/preview.h"

namespace imago {
namespace fs = std::filesystem;

namespace {

using enum Metric;

constexpr const char* kProgram = "evaluate_ddpm";
constexpr int kDefaultTimesteps = 50;
constexpr int kShownSamples = 64, kQueries = 8, kShownNeighbours = 7;

/// One way of sampling: a point of the sweep.
struct SweepPoint {
  SamplerFlags sampler;
  double guidance_scale;
};

class EvaluationRun {
 public:
  explicit EvaluationRun(const EvaluateOptions& options);
  int run();

 private:
  void open_model();
  void open_data();
  void find_size();
  void open_classifier();
  void check_points();
  void prepare_output();

  void measure_likelihood();
  std::vector<int> data_classes(const ImageSet& images, int64_t first, int64_t count) const;
  void measure_reference();
  void measure_samples();
  void measure(const ImageSet& samples, SamplesReport report, const std::string& label);
  void show(const ImageSet& samples);
  Features features(const ImageSet& images, const std::string& label) const;
  double accuracy(const ImageSet& samples, const std::string& label) const;
  void write();

  const EvaluateOptions& options_;
  const StopSignals signals_;
  Device device_;
  DType compute_;
  TrainedModel model_;  // its unet may be null
  std::shared_ptr<const Dataset> data_, training_data_;
  std::unique_ptr<FeatureNetwork> network_;
  std::optional<Classifier> classifier_;
  std::vector<int32_t> class_numbers_;  // of the model's classes (the samples'), in the classifier
  std::optional<ImageSet> given_samples_;
  int64_t height_ = 0, width_ = 0, channels_ = 0;
  std::vector<SweepPoint> points_;
  std::optional<Features> reference_;
  std::optional<Moments> reference_moments_;
  std::optional<CoveringSet> reference_cover_;
  Evaluation result_;
};

EvaluationRun::EvaluationRun(const EvaluateOptions& options)
    : options_(options),
      device_(naming_option("--device", [&] { return parse_device(options.device); })),
      compute_(options.mixed_precision == "bf16" ? DType::kBFloat16 : DType::kFloat32) {
  if (!options.model.empty()) open_model();
  open_data();
  if (!options.features.empty())
    network_ = naming_option("--features", [&] { return open_feature_network(options.features, device_); });
  if (!options.samples.empty()) given_samples_ = read_samples(options.samples, options.num_images, signals_);
  find_size();
  if (options.asks_for(kAccuracy)) open_classifier();
  if (model_.unet && !given_samples_ && options.needs_samples()) check_points();
  prepare_output();
}

void EvaluationRun::open_model() {
  model_ = open_trained_model(kProgram, options_.model, options_.raw_weights, device_, compute_);
  const UNetConfig& unet = model_.folder.unet;
  if (unet.in_channels != 1 && unet.in_channels != 3)
    bad_input("--model ", options_.model, ": has ", unet.in_channels, " channels; images have 1 or 3");
}

void EvaluationRun::open_data() {
  if (options_.data.empty()) return;
  const auto open = [&](const std::string& split) {
    return naming_option("--data", [&] { return open_dataset(options_.data, {.split = split}); });
  };
  data_ = open(options_.split);
  if (options_.asks_for(kNeighbours)) training_data_ = open("train");
  const int64_t images = std::min(data_->size(), int64_t{options_.num_data_images.value_or(INT32_MAX)});
  if (options_.asks_for(kPrecision) && options_.num_images < 4)
    bad_input("--num_images ", options_.num_images, ": expected at least 4 for --metrics precision");
  const auto need = [&](Metric metric, int64_t least) {
    if (options_.asks_for(metric) && images < least)
      bad_input("--metrics ", name_of(metric), ": needs at least ", least, " images, ", options_.data,
                " has ", images);
  };
  need(kFrechet, 2);
  need(kKernel, 2);
  need(kPrecision, 4);
}

/// The features' network, where it is one of classes and the samples have some: otherwise there is no
/// accuracy, and it is bad input to have asked for it.
void EvaluationRun::open_classifier() {
  const auto without = [&](const std::string& reason) {
    if (options_.metrics_given) bad_input("--metrics accuracy: ", reason);
  };
  if (!fs::is_directory(options_.features)) return without(options_.features + " is no classifier");
  const int classes = given_samples_ ? 0 : classes_of(model_.folder.unet);
  if (given_samples_ && given_samples_->labels.empty()) return without("the samples have no classes");
  if (!given_samples_ && classes == 0) return without("the model knows no classes");
  if (!given_samples_ && options_.class_label.value_or(0) >= classes)
    return without(str("--class_label ", *options_.class_label, " is no class"));
  classifier_ = naming_option("--features", [&] { return Classifier(options_.features, device_); });
  if (given_samples_) {
    const auto samples = open_dataset(options_.samples, {.split = "test"});
    class_numbers_ =
        naming_option("--samples", [&] { return imago::classes_of(*samples, classifier_->config()); });
  } else if (data_ && !data_->class_names().empty()) {
    class_numbers_ =
        naming_option("--data", [&] { return imago::classes_of(*data_, classifier_->config()); });
  } else {
    class_numbers_.resize(classifier_->class_names().size());
    std::iota(class_numbers_.begin(), class_numbers_.end(), 0);
  }
  if (!given_samples_ && static_cast<int>(class_numbers_.size()) != classes)
    bad_input("--features ", options_.features, ": knows ", class_numbers_.size(), " classes, the model ",
              classes);
}

// That of the samples: data are brought to it, as in training.
void EvaluationRun::find_size() {
  if (model_.unet) {
    const UNetConfig& unet = model_.folder.unet;
    if (!options_.resolution && !unet.sample_size)
      bad_input("--resolution: the model's config.json gives no sample_size: say which size to evaluate");
    height_ = options_.resolution ? *options_.resolution : (*unet.sample_size)[0];
    width_ = options_.resolution ? *options_.resolution : (*unet.sample_size)[1];
    channels_ = unet.in_channels;
    unet.check_resolution(height_, width_, "--resolution");
  }
  if (!given_samples_) return;
  const ImageSet& s = *given_samples_;
  if (model_.unet && (s.height != height_ || s.width != width_ || s.channels != channels_))
    bad_input("--samples ", options_.samples, ": images of ", s.width, " x ", s.height, " with ", s.channels,
              " channels, the model makes ", width_, " x ", height_, " with ", channels_);
  height_ = s.height, width_ = s.width, channels_ = s.channels;
}

/// Makes the plans, and so finds what is wrong with any of them.
void EvaluationRun::check_points() {
  const auto or_one = [](const auto& list, auto one) {
    std::vector<decltype(one)> all(list.begin(), list.end());
    if (all.empty()) all.push_back(one);
    return all;
  };
  const UNetConfig& unet = model_.folder.unet;
  using Name = std::optional<std::string>;
  for (const Name& scheduler : or_one(options_.sweep_schedulers, Name()))
    for (const std::optional<int>& steps : or_one(options_.sweep_steps, std::optional<int>()))
      for (const double guidance : or_one(options_.sweep_guidance, options_.guidance_scale)) {
        const auto with = [&] { return options_.sampler.with(scheduler, steps); };
        const SamplerFlags sampler = scheduler ? naming_option("--sweep_schedulers", with) : with();
        (void)sampler.plan(model_.folder.scheduler);
        if (const auto warning = sampler.guidance_warning(model_.folder.scheduler, guidance))
          warn_user(kProgram, *warning);
        const std::vector<int> first = classes_to_sample(unet, options_.class_label, guidance, 0, 1);
        if (!first.empty())
          naming_option("--class_label", [&] { return class_labels_tensor(unet, first, device_); });
        points_.push_back({sampler, guidance});
      }
}

void EvaluationRun::prepare_output() {
  std::error_code error;
  fs::create_directories(options_.output, error);
  if (error) bad_input("--output ", options_.output, ": cannot make the folder: ", error.message());
  const AtomicFile probe(fs::path(options_.output) / "evaluation.json");  // not committed: leaves nothing
}

int EvaluationRun::run() {
  result_.title = fs::absolute(options_.model.empty() ? options_.samples : options_.model)
                      .lexically_normal()
                      .filename()
                      .string();
  result_.settings = options_.given;
  result_.settings.emplace_back("device", name_of(device_));
  if (data_) result_.settings.emplace_back("compared with", data_->description());
  if (network_) result_.settings.emplace_back("feature network", network_->name());
  if (options_.asks_for(kBits) || options_.asks_for(kLoss)) measure_likelihood();
  if (options_.needs_samples()) measure_samples();
  write();
  return kExitOk;
}

// ---- Likelihood ----

/// What the model is told about images of the data: their classes, none where it knows none, and "no class"
/// where the data have no labels and the model was trained for that.
std::vector<int> EvaluationRun::data_classes(const ImageSet& images, int64_t first, int64_t count) const {
  const UNetConfig& unet = model_.folder.unet;
  if (!unet.takes_class_labels()) return {};
  if (!images.labels.empty()) {
    const auto begin = images.labels.begin() + first;
    return {begin, begin + count};
  }
  if (!unet.imago_null_class)
    bad_input("--data ", options_.data, ": has no labels, and the model needs the class of each image");
  return std::vector<int>(static_cast<size_t>(count), *unet.imago_null_class);
}

void EvaluationRun::measure_likelihood() {
  const SchedulerConfig& scheduler = model_.folder.scheduler;
  const int T = scheduler.noise.num_train_timesteps;
  std::optional<VariationalBound> bound;
  if (options_.asks_for(kBits)) {
    const int times = options_.num_timesteps.value_or(std::min(T, kDefaultTimesteps));
    bound.emplace(scheduler, VariationalBound::Options{options_.seed, times, compute_});
    bound->check_model(model_.folder.unet);
  }
  LossByTime loss(scheduler, options_.seed, compute_);
  const ImageSet images = read_data("data", data_, height_, width_, channels_, options_.likelihood_images,
                                    options_.seed, signals_);
  const int64_t batches = (images.count() + options_.batch_size - 1) / options_.batch_size;
  constexpr int kDraws = 10;  // of the loss, an image
  const int64_t draws = options_.asks_for(kLoss) ? kDraws : 0;
  Stage stage(signals_, "likelihood", "batches", batches * ((bound ? bound->evaluations() : 0) + draws));
  for (int64_t first = 0; first < images.count(); first += options_.batch_size) {
    const int64_t count = std::min<int64_t>(options_.batch_size, images.count() - first);
    const Tensor pixels = images.tensor(first, count, device_);  // [n,H,W,C]
    const std::vector<int> classes = data_classes(images, first, count);
    const Tensor labels = classes.empty() ? Tensor() : naming_option("--data " + options_.data + ":", [&] {
      return class_labels_tensor(model_.folder.unet, classes, device_);
    });
    std::vector<int64_t> ids;
    for (int64_t i = first; i < first + count; ++i) ids.push_back(i);
    if (bound) bound->add(*model_.unet, pixels, ids, labels, [&] { stage.advance(); });
    for (int64_t draw = 0; draw < draws; ++draw) {
      std::vector<int64_t> draw_ids;
      for (const int64_t id : ids) draw_ids.push_back(id + draw * images.count());
      loss.add(*model_.unet, pixels, draw_ids, labels);
      stage.advance();
    }
  }
  if (bound) result_.likelihood = report_of(*bound);
  if (draws > 0) result_.loss = report_of(loss);
}

// ---- Samples ----

Features EvaluationRun::features(const ImageSet& images, const std::string& label) const {
  Stage stage(signals_, label, "images", images.count());
  return features_of(*network_, images, device_, options_.batch_size, [&](int64_t n) { stage.advance(n); });
}

/// Once for all points of a sweep.
void EvaluationRun::measure_reference() {
  const ImageSet images =
      read_data("data", data_, height_, width_, channels_, options_.num_data_images, options_.seed, signals_);
  reference_ = features(images, "data features");
  if (options_.asks_for(kFrechet)) reference_moments_ = moments_of(*reference_);
  if (options_.asks_for(kPrecision)) reference_cover_.emplace(*reference_);
}

void EvaluationRun::measure_samples() {
  if (options_.needs_features()) measure_reference();
  if (given_samples_) {
    measure(*given_samples_, {.sampler = options_.samples}, "samples");
    return show(*given_samples_);
  }
  for (size_t i = 0; i < points_.size(); ++i) {
    const SweepPoint& point = points_[i];
    const SchedulerConfig& scheduler = model_.folder.scheduler;
    const SamplingPlan plan = point.sampler.plan(scheduler);
    SamplesReport report{.sampler = point.sampler.sampler_name(scheduler),
                         .steps = point.sampler.steps(scheduler),
                         .evaluations = plan.evaluations(),
                         .guidance_scale = point.guidance_scale};
    SamplingRun run{options_.num_images,
                    height_,
                    width_,
                    options_.seed,
                    options_.class_label,
                    point.guidance_scale,
                    options_.guidance_interval,
                    options_.batch_size,
                    device_,
                    compute_};
    const std::string label = str(report.sampler, " ", *report.steps);
    const ImageSet samples = sample_images(*model_.unet, plan, run, signals_, label);
    measure(samples, report, label);
    if (i + 1 == points_.size()) show(samples);
  }
}

void EvaluationRun::measure(const ImageSet& samples, SamplesReport report, const std::string& label) {
  report.images = samples.count();
  if (options_.needs_features()) {
    const Features found = features(samples, label + " features");
    if (options_.asks_for(kFrechet))
      report.frechet_distance = frechet_distance(moments_of(found), *reference_moments_);
    if (options_.asks_for(kKernel))
      report.kernel_distance = kernel_distance(found, *reference_, {.seed = options_.seed});
    if (options_.asks_for(kPrecision))
      report.precision_recall = precision_recall(CoveringSet(found), *reference_cover_);
  }
  if (classifier_) report.accuracy = accuracy(samples, label + " classes");
  std::printf("%s: %s\n", kProgram, format_sample_line(report).c_str());
  std::fflush(stdout);
  result_.samples.push_back(report);
}

/// By the classifier's numbers in place of the model's (the samples').
double EvaluationRun::accuracy(const ImageSet& samples, const std::string& label) const {
  ImageSet named = samples;
  for (int& number : named.labels) number = class_numbers_.at(static_cast<size_t>(number));
  Stage stage(signals_, label, "images", named.count());
  return class_accuracy(*classifier_, named, device_, options_.batch_size,
                        [&](int64_t n) { stage.advance(n); });
}

/// The samples of the last point as images: alone, and beside what is nearest to them in the training set.
void EvaluationRun::show(const ImageSet& samples) {
  const int shown = static_cast<int>(std::min<int64_t>(samples.count(), kShownSamples));
  result_.images.emplace_back("Samples", tiles_png(samples, shown, grid_columns(shown)));
  if (!options_.asks_for(kNeighbours)) return;
  const ImageSet set = read_data("training set", training_data_, height_, width_, channels_, std::nullopt,
                                 options_.seed, signals_);
  ImageSet queries{samples.height, samples.width, samples.channels};
  const int64_t count = std::min<int64_t>(samples.count(), kQueries);
  queries.pixels.assign(samples.pixels.begin(), samples.pixels.begin() + count * samples.image_size());
  const int k = static_cast<int>(std::min<int64_t>(kShownNeighbours, set.count()));
  const std::string heading = "Samples, and the nearest images of the training set by their ";
  result_.images.emplace_back(heading + "pixels",
                              neighbours_png(queries, pixel_features(queries), set, pixel_features(set), k));
  if (!network_) return;
  result_.images.emplace_back(heading + "features",
                              neighbours_png(queries, features(queries, "sample features"), set,
                                             features(set, "training features"), k));
}

void EvaluationRun::write() {
  const fs::path folder = options_.output;
  constexpr const char* kNames[] = {"samples.png", "neighbours_by_pixels.png", "neighbours_by_features.png"};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    std::error_code ignored;
    if (i < result_.images.size())
      write_file(folder / kNames[i], result_.images[i].second);
    else
      fs::remove(folder / kNames[i], ignored);  // of an earlier evaluation
  }
  write_file(folder / "evaluation.html", format_evaluation(result_));
  write_json(folder / "evaluation.json", to_json(result_));
  if (result_.likelihood)
    std::printf("bits per dimension: %.4f +- %.4f (%d of %d timesteps, %s images)\n",
                result_.likelihood->bits.mean, result_.likelihood->bits.half_width,
                result_.likelihood->evaluations, result_.likelihood->timesteps,
                with_thousands(result_.likelihood->images).c_str());
  if (result_.loss)
    std::printf("loss: %.5f (%s draws)\n", result_.loss->mean, with_thousands(result_.loss->draws).c_str());
  std::fputs(format_samples_table(result_.samples).c_str(), stdout);
  std::printf("%s: wrote %s\n", kProgram, (folder / "evaluation.html").c_str());
}

}  // namespace

int run_evaluation(const EvaluateOptions& options) {
  try {
    return EvaluationRun(options).run();
  } catch (const Interrupted& i) {
    std::fprintf(stderr, "%s: stopped by %s; nothing was written\n", kProgram, name_of_signal(i.signal));
    return 128 + i.signal;
  }
}

}  // namespace imago
