// A training run small enough to be killed a dozen times in a test.
#pragma once

#include <string>

#include "tests/apps/program.h"
#include "tests/support/temp_folder.h"

namespace imago::test {

/// A folder with images/ (PNG, 8x8, colour, each another gradient) and model.json (a U-Net of two levels
/// with attention and dropout, about 20,000 parameters).
class TinyRun {
 public:
  explicit TinyRun(int images = 24);

  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  std::string images() const { return path("images").string(); }
  std::string model() const { return path("model.json").string(); }

  /// Arguments of train_ddpm: these data and this model, batches of 4, a constant learning rate, an EMA, seed
  /// 7, output folder `output`, no images before the end; then `more`, which may say otherwise.
  Arguments train(const std::string& output, int steps, const Arguments& more = {}) const;

 private:
  TempFolder folder_;
};

/// Everything that must agree between two runs that computed the same: relative file names with contents,
/// metrics without their times, without reports, event files and checkpoint folders other than the last.
std::string result_of_run(const std::filesystem::path& output, int last_step);

}  // namespace imago::test
