// Trains a classifier on images with classes; see --help.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/common/classifier_options.h"
#include "apps/common/run_app.h"
#include "apps/common/stop_signals.h"
#include "apps/common/warner.h"
#include "engine/data/subset.h"
#include "engine/io/atomic_file.h"
#include "engine/io/json.h"
#include "engine/report/progress.h"
#include "models/resnet/classifier.h"

namespace imago {
namespace fs = std::filesystem;

namespace {

constexpr const char* kProgram = "train_classifier";
constexpr double kDefaultShare = 0.1;  // of the images, held out where the data has no test images

/// What a run writes into its output folder.
const std::set<std::string> kFiles = {"config.json", "model.safetensors", "evaluation.json", "metrics.jsonl"};

/// Nothing that is there may be lost: the output folder has to be new or empty, or, if it may be overwritten,
/// to hold a classifier and nothing else.
void check_output_folder(const fs::path& folder, bool overwrite) {
  if (!fs::exists(folder)) return;
  if (!fs::is_directory(folder))
    bad_input("--output_dir ", folder.string(), ": is a file, expected a folder");
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!kFiles.contains(name) || entry.is_directory())
      bad_input("--output_dir ", folder.string(), ": holds ", name,
                ", which is no part of a classifier; expected a ", "new or empty folder");
    if (!overwrite)
      bad_input("--output_dir ", folder.string(),
                ": is not empty; --overwrite_output_dir replaces the classifier");
  }
}

/// The images to train on, and those to measure by.
HeldOut open_data(const ClassifierOptions& o, Warner& warner) {
  DatasetOptions options;
  options.broken_images = {.refuse = o.strict_data, .warn = [&warner](const std::string& m) { warner(m); }};
  const auto train = open_dataset(o.train_data_dir, options);
  if (o.validation_share || !has_test_split(o.train_data_dir))
    return hold_out(train, o.validation_share.value_or(kDefaultShare), o.seed);
  options.split = "test";
  return {train, open_dataset(o.train_data_dir, options)};
}

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.2f %%", 100 * share);
  return text;
}

/// Trains to the end; after each epoch measures by the held-out images. Returns the signal that stopped it,
/// or 0.
int train(ClassifierTraining& training, const std::shared_ptr<const Dataset>& held_out,
          const fs::path& metrics_file, Warner& warner, ConfusionMatrix& confusion) {
  const ClassifierTrainConfig& c = training.config();
  const StopSignals signals;
  MetricsWriter metrics(metrics_file);
  Progress progress(c.max_train_steps, 0);
  const Warner::Above above(warner, progress);
  while (!training.finished() && !signals.received()) {
    const int64_t epochs = training.epochs_done();
    const MetricsRow row = training.step();
    metrics.write(row);
    progress.update(row.step, row.loss, c.batch_size);
    if (training.epochs_done() == epochs && !training.finished()) continue;
    confusion = evaluate_classifier(training.model(), c.device, held_out);
    progress.message(str(kProgram, ": step ", row.step, ": accuracy ", percent(confusion.accuracy()),
                         " on the held-out images"));
  }
  const int signal = signals.received();
  if (signal)
    progress.message(str(kProgram, ": stopped by ", name_of_signal(signal), " after step ",
                         training.steps_done(), "; nothing was written"));
  return signal;
}

void make_parent_of(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(fs::absolute(folder).parent_path(), error);
  if (error) failure(folder.string(), ": cannot make the folder: ", error.message());
}

int run(const ClassifierOptions& o) {
  check_output_folder(o.output_dir, o.overwrite_output_dir);
  Warner warner(kProgram);
  const auto [kept, held_out] = open_data(o, warner);
  ClassifierTraining training(make_classifier_config(o, *kept), kept);
  const ResNetConfig& model = training.config().model;
  classes_of(*held_out, model);  // they are the model's, or this is said before it is trained
  make_parent_of(o.output_dir);
  StagedFolder folder(o.output_dir);
  std::printf("%s: training on %s\n", kProgram, kept->description().c_str());
  std::printf("%s: measuring by %s\n", kProgram, held_out->description().c_str());
  std::printf("%s: %s parameters, images of %dx%dx%d\n", kProgram,
              with_thousands(training.parameters().count()).c_str(), model.sample_size, model.sample_size,
              model.in_channels);
  std::fflush(stdout);
  ConfusionMatrix confusion(model.class_names);
  if (const int signal = train(training, held_out, folder.path() / "metrics.jsonl", warner, confusion))
    return 128 + signal;
  write_classifier(folder.path(), model, training.parameters());
  write_json(folder.path() / "evaluation.json", confusion.to_json());
  folder.commit();
  std::printf("%s: accuracy %s on the held-out images; the classifier is in %s\n", kProgram,
              percent(confusion.accuracy()).c_str(), o.output_dir.c_str());
  return kExitOk;
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  return imago::run_app("train_classifier", [&] {
    const auto options = imago::parse_classifier_options(argc, argv);
    return options ? imago::run(*options) : imago::kExitOk;
  });
}
