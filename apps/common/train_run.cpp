#include "apps/common/train_run.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>

#include "apps/common/event_log.h"
#include "apps/common/output_folder.h"
#include "apps/common/run_app.h"
#include "apps/common/stop_signals.h"
#include "apps/common/train_options.h"
#include "apps/common/warner.h"
#include "engine/image/png.h"
#include "engine/report/progress.h"
#include "models/diffusion/pipeline_folder.h"
#include "models/report/html_report.h"
#include "models/trainer/checkpoint.h"
#include "models/trainer/plan_table.h"
#include "models/trainer/preview.h"
#include "models/trainer/trainer.h"

namespace imago {
namespace fs = std::filesystem;

namespace {

constexpr const char* kProgram = "train_ddpm";

/// Thrown out of a preview to leave it: a signal came.
struct PreviewInterrupted {};

std::string precision_of(const TrainConfig& config) {
  return config.compute == DType::kBFloat16 ? "bfloat16 with float32 master weights" : "float32";
}

std::string prediction_of(const SchedulerConfig& scheduler) {
  if (is_flow(scheduler.kind)) return "velocity (flow matching)";
  return str(name_of(scheduler.prediction_type), has_betas(scheduler.kind) ? "" : " (EDM)");
}

class TrainRun {
 public:
  TrainRun(const TrainOptions& options, const OutputFolder& folder, Trainer& trainer, Warner& warner);
  TrainRun(const TrainRun&) = delete;
  int run();

 private:
  bool training_step();  // false: asked to stop
  void write_rows(const std::vector<MetricsRow>& rows);
  bool preview_due(int64_t step) const;
  bool model_due(int64_t step) const;
  bool epoch_ended(int64_t step, int64_t every) const;
  bool preview();  // false: asked to stop
  void checkpoint();
  void save_model();
  void write_report(const std::string& status);
  int finish_interrupted();
  int finish();

  const TrainOptions& options_;
  const OutputFolder& folder_;
  Trainer& trainer_;
  StopSignals signals_;
  Warner& warner_;
  MetricsWriter metrics_;
  std::optional<EventLog> events_;
  Progress progress_;
  Warner::Above above_{warner_, progress_};
  int64_t checkpointed_;  // the step of the last checkpoint; 0: there is none
};

TrainRun::TrainRun(const TrainOptions& options, const OutputFolder& folder, Trainer& trainer, Warner& warner)
    : options_(options),
      folder_(folder),
      trainer_(trainer),
      warner_(warner),
      metrics_(folder.metrics(), trainer.steps_done()),
      progress_(trainer.config().max_train_steps, trainer.steps_done()),
      checkpointed_(trainer.steps_done()) {
  if (options.logger == "tensorboard") events_.emplace(folder.event_files(), trainer.steps_done());
  if (metrics_.rows_kept() < trainer.steps_done())
    warner_(str(folder.metrics().string(), ": the rows of ", trainer.steps_done() - metrics_.rows_kept(),
                " earlier steps are missing"));
}

int TrainRun::run() {
  const int64_t start = trainer_.steps_done();
  if (start > 0 && preview_due(start) && !fs::exists(folder_.sample_grid(start)) && !preview())
    return finish_interrupted();
  while (!trainer_.finished()) {
    if (!training_step()) return finish_interrupted();
  }
  write_rows(trainer_.flush());
  return finish();
}

bool TrainRun::training_step() {
  write_rows(trainer_.step());
  if (signals_.received()) return false;
  const int64_t step = trainer_.steps_done();
  // No model without a checkpoint: a folder that has only a model holds a finished run, which is not started
  // anew.
  const bool first_model = model_due(step) && checkpointed_ == 0;
  if (step % options_.checkpointing_steps == 0 || first_model) checkpoint();
  if (preview_due(step) && !preview()) return false;
  if (model_due(step)) save_model();
  return true;
}

void TrainRun::write_rows(const std::vector<MetricsRow>& rows) {
  for (const MetricsRow& row : rows) {
    metrics_.write(row);
    if (events_) events_->write(row);
    progress_.update(row.step, row.loss, trainer_.config().images_per_step());
  }
}

/// Whether an epoch ended with this step, of those that count: the first and then every `every`-th, as
/// diffusers does.
bool TrainRun::epoch_ended(int64_t step, int64_t every) const {
  for (int64_t e = trainer_.epochs_after(step - 1); e < trainer_.epochs_after(step); ++e) {
    if (e % every == 0) return true;
  }
  return false;
}

bool TrainRun::preview_due(int64_t step) const {
  if (step == trainer_.config().max_train_steps) return true;
  return options_.preview_steps ? step % *options_.preview_steps == 0
                                : epoch_ended(step, options_.save_images_epochs);
}

bool TrainRun::model_due(int64_t step) const {
  return step < trainer_.config().max_train_steps && epoch_ended(step, options_.save_model_epochs);
}

bool TrainRun::preview() {
  write_rows(trainer_.flush());
  const int64_t step = trainer_.steps_done();
  PreviewOptions o;
  o.images = options_.eval_batch_size;
  o.batch_size = std::min(o.images, trainer_.config().batch_size);  // fits, since training does
  o.ddim = !options_.ddpm_num_inference_steps.has_value();
  o.inference_steps =
      static_cast<int>(options_.ddpm_num_inference_steps.value_or(options_.preview_inference_steps));
  o.keep_going = [this] {
    if (signals_.received()) throw PreviewInterrupted();
  };
  try {
    const Image samples = sample_preview(trainer_, o);
    write_png(folder_.sample_grid(step), samples);
    if (events_) events_->write(step, samples);
  } catch (const PreviewInterrupted&) {
    return false;
  }
  write_report(str("running, step ", with_thousands(step)));
  return true;
}

void TrainRun::checkpoint() {
  write_rows(trainer_.flush());
  metrics_.sync();
  trainer_.save_checkpoint(checkpoint_path(folder_.path(), trainer_.steps_done()));
  checkpointed_ = trainer_.steps_done();
  if (options_.checkpoints_total_limit) prune_checkpoints(folder_.path(), *options_.checkpoints_total_limit);
}

void TrainRun::save_model() {
  write_rows(trainer_.flush());
  const TrainConfig& c = trainer_.config();
  write_pipeline_folder(folder_.path(), c.unet, c.scheduler, trainer_.parameters(), trainer_.result());
}

void TrainRun::write_report(const std::string& status) {
  const TrainConfig& c = trainer_.config();
  ReportData data;
  data.title = fs::absolute(folder_.path()).lexically_normal().filename().string();
  const std::string parameters = with_thousands(trainer_.parameters().count());
  data.subtitle = str(c.height, "x", c.width, ", ", parameters, " parameters, ", precision_of(c));
  data.status = status;
  data.total_steps = c.max_train_steps;
  data.model = {{"parameters", parameters},
                {"resolution", str(c.height, " x ", c.width, " x ", c.unet.in_channels)},
                {"prediction", prediction_of(c.scheduler)},
                {"data", trainer_.data().description()},
                {"steps", with_thousands(c.max_train_steps)},
                {"images a step", with_thousands(c.images_per_step())}};
  data.config = options_.table;
  data.environment = {
      {"device", name_of(c.device)}, {"threads", str(omp_get_max_threads())}, {"precision", precision_of(c)}};
  data.metrics = read_metrics(folder_.metrics());
  for (const fs::directory_entry& e : fs::directory_iterator(folder_.samples())) {
    const std::string name = e.path().filename();
    long long step = 0;
    if (std::sscanf(name.c_str(), "step-%lld.png", &step) == 1 && step <= trainer_.steps_done())
      data.grids.push_back({step, e.path(), {}});
  }
  std::sort(data.grids.begin(), data.grids.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  imago::write_report(folder_.report(), data);
}

int TrainRun::finish_interrupted() {
  const int signal = signals_.received();
  write_rows(trainer_.flush());
  if (checkpointed_ != trainer_.steps_done()) checkpoint();
  write_report(str("interrupted after step ", with_thousands(trainer_.steps_done())));
  progress_.message(str(kProgram, ": stopped by ", name_of_signal(signal), " after step ",
                        trainer_.steps_done(), "; its checkpoint is ",
                        checkpoint_path(folder_.path(), trainer_.steps_done()).string()));
  progress_.message(str(kProgram, ": to go on, repeat the command with --resume_from_checkpoint latest"));
  return 128 + signal;
}

int TrainRun::finish() {
  save_model();
  if (!fs::exists(folder_.sample_grid(trainer_.steps_done())) && !preview()) return finish_interrupted();
  write_report("finished");
  progress_.finish();
  std::printf("%s: %s steps done; the model is in %s, the report %s\n", kProgram,
              with_thousands(trainer_.steps_done()).c_str(), folder_.path().c_str(),
              folder_.report().c_str());
  return kExitOk;
}

/// Of this process.
int64_t resident_bytes() {
  int64_t size = 0, resident = 0;  // pages
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// Where a run that failed can go on.
std::string last_checkpoint_text(const fs::path& output) {
  const auto checkpoints = list_checkpoints(output);
  return checkpoints.empty() ? "; there is no checkpoint yet"
                             : "; the last checkpoint is " + checkpoints.back().path.string();
}

}  // namespace

int print_plan(const TrainOptions& options) {
  std::vector<std::string> warnings;
  TrainConfig config = make_train_config(options, warnings);
  std::shared_ptr<const Dataset> data;
  if (!options.train_data_dir.empty()) {
    data = open_dataset(options.train_data_dir, {});
    complete_for_data(config, options, *data);
  } else if (options.class_conditional || options.class_dropout > 0)
    bad_input("--train_data_dir: the number of classes is that of the data");
  for (const std::string& w : warnings) warn_user(kProgram, w);
  TrainingPlan plan = plan_training(config);
  if (data && config.device == Device::kCpu) {
    plan.program = resident_bytes();
    plan.images = decoded_bytes(data->size(), config);
  }
  std::fputs(format_plan(plan, config).c_str(), stdout);
  return kExitOk;
}

int run_training(const TrainOptions& options) {
  std::vector<std::string> warnings;
  TrainConfig config = make_train_config(options, warnings);
  OutputFolder folder(options);
  if (!folder.warning().empty()) warnings.push_back(folder.warning());

  Warner warner(kProgram);
  const auto warn = [&warner](const std::string& message) { warner(message); };
  for (const std::string& w : warnings) warn(w);
  DatasetOptions data_options;
  data_options.broken_images = {.refuse = options.strict_data, .warn = warn};
  const auto data = open_dataset(options.train_data_dir, data_options);
  complete_for_data(config, options, *data);

  Trainer trainer(config, data);
  if (folder.resume_from()) {
    for (const std::string& w : trainer.load_checkpoint(*folder.resume_from())) warn(w);
  }
  folder.open(trainer.steps_done());
  std::printf("%s: %s\n", kProgram, data->description().c_str());
  if (folder.resume_from()) std::printf("%s: going on from %s\n", kProgram, folder.resume_from()->c_str());
  std::fflush(stdout);
  try {
    return TrainRun(options, folder, trainer, warner).run();
  } catch (const Error& e) {
    throw Error(e.fault, e.what() + last_checkpoint_text(folder.path()));
  }
}

}  // namespace imago
