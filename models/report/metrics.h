// metrics.jsonl: what a run measured, one JSON object a line, one line an optimizer step.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace imago {

constexpr float kNotMeasured = std::numeric_limits<float>::quiet_NaN();  // null in the file

/// The keys of a line, in this order. Everything before `seconds` is a function of the run's inputs: equal
/// bits give equal text, so two runs can be compared by cutting every line off at ",\"seconds\"".
struct MetricsRow {
  int64_t step = 0;    // optimizer updates done, this one included: the first is 1
  int64_t epoch = 0;   // from 0
  int64_t images = 0;  // seen since the start of training, this step included
  float loss = kNotMeasured;
  /// Mean loss of the images whose time fell into the first, ..., last quarter of the schedule, from little
  /// noise to much (loss_q1 ... loss_q4).
  std::array<float, 4> loss_by_quartile{kNotMeasured, kNotMeasured, kNotMeasured, kNotMeasured};
  double learning_rate = 0;
  float grad_norm = kNotMeasured;  // before clipping
  double ema_decay = kNotMeasured;
  double seconds = 0;            // that this step took, waiting for data included
  double images_per_second = 0;  // of this step
};

/// One line, without the newline. Numbers are the shortest text that reads back as the same bits; what is not
/// finite becomes null.
std::string format_metrics_row(const MetricsRow& row);

/// Appends rows; every row reaches the file system at once (it survives the program, though not a power cut).
class MetricsWriter {
 public:
  /// last_step 0: starts an empty file, whatever was there. Otherwise cuts the file off behind the row of
  /// `last_step`, because a resumed run writes the steps after its checkpoint again; a last line torn by a
  /// kill goes too. A file in which something else than rows comes before that is bad input "PATH:LINE: ..."
  /// and stays as it is; one that cannot be written is a failure.
  explicit MetricsWriter(std::filesystem::path path, int64_t last_step = 0);
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;
  ~MetricsWriter();

  /// Appends one line. On a full disk the file is cut back to whole lines before the failure is thrown.
  void write(const MetricsRow& row);
  /// Onto the disk: before a checkpoint is committed that relies on these rows.
  void sync();
  /// The steps already in the file when it was opened, after cutting off.
  int64_t rows_kept() const { return rows_kept_; }

 private:
  [[noreturn]] void fail(int error);
  std::filesystem::path path_;
  int fd_ = -1;
  int64_t bytes_ = 0, rows_kept_ = 0;
};

/// All rows of a file; a torn last line is left out, unknown keys are ignored, missing ones are as in a new
/// MetricsRow. Anything else is bad input "PATH:LINE: ...".
std::vector<MetricsRow> read_metrics(const std::filesystem::path& path);

}  // namespace imago
