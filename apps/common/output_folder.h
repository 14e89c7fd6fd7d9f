// The folder that a training run writes into.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace imago {

struct TrainOptions;

/// OUTPUT/
///   model_index.json  unet/  scheduler/   the trained model, a diffusers pipeline
///   checkpoint-STEP/                      see models/trainer/checkpoint.h
///   samples/step-STEP.png  metrics.jsonl  report.html  logs/train_unconditional/  (--logging_dir)
/// The constructor only looks; nothing is written or removed before open().
class OutputFolder {
 public:
  /// Decides from the options and from what lies in the folder how to begin. Bad input where that would mix
  /// up two runs or lose something: a folder that is not empty, without --overwrite_output_dir or
  /// --resume_from_checkpoint; a checkpoint that is not there; later checkpoints than the one to go on from.
  explicit OutputFolder(const TrainOptions& options);
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder();

  /// The checkpoint to go on from; none: start anew.
  const std::optional<std::filesystem::path>& resume_from() const { return resume_from_; }
  /// Something to tell the user about the decision, or empty.
  const std::string& warning() const { return warning_; }

  /// Makes the folder and takes it: bad input if another run is writing there. Removes what killed runs left
  /// half written and, when starting anew, what an earlier run wrote (the names above, nothing else). When
  /// going on from `step` of a run that lies elsewhere, its metrics are copied.
  void open(int64_t step);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path report() const { return path_ / "report.html"; }
  /// Where the event files of TensorBoard are, as train_unconditional.py puts them.
  std::filesystem::path event_files() const { return path_ / logging_dir_ / "train_unconditional"; }
  std::filesystem::path samples() const { return path_ / "samples"; }
  std::filesystem::path sample_grid(int64_t step) const;

 private:
  void choose_checkpoint(const std::string& wanted, bool overwrite);
  void refuse_later_checkpoints(bool overwrite);
  void take();
  void remove_run(int64_t after_step);

  std::filesystem::path path_, logging_dir_;
  std::optional<std::filesystem::path> resume_from_;
  bool elsewhere_ = false;  // the checkpoint lies in another folder than path_
  std::string warning_;
  int lock_ = -1;
};

}  // namespace imago
