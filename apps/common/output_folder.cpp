#include "apps/common/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "apps/common/train_options.h"
#include "engine/io/atomic_file.h"
#include "kernels/error.h"
#include "models/trainer/checkpoint.h"

namespace imago {
namespace fs = std::filesystem;

namespace {

bool there_is(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool is_empty_or_missing(const fs::path& folder) {
  std::error_code error;
  const fs::directory_iterator first(folder, error);
  return error ? !there_is(folder) : first == fs::directory_iterator();
}

/// The folder's own path, whatever way it was written.
fs::path resolved(const fs::path& path) {
  std::error_code error;
  const fs::path p = fs::weakly_canonical(path, error);
  return error ? path : p.has_filename() ? p : p.parent_path();
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    files.push_back(it->path());
  return files;
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) failure(path.string(), ": cannot remove: ", error.message());
}

}  // namespace

OutputFolder::OutputFolder(const TrainOptions& options)
    : path_(options.output_dir), logging_dir_(options.logging_dir) {
  if (there_is(path_) && !is_folder(path_))
    bad_input("--output_dir ", path_.string(), ": is a file, expected a folder");
  const bool overwrite = options.overwrite_output_dir;
  if (!options.resume_from_checkpoint.empty()) choose_checkpoint(options.resume_from_checkpoint, overwrite);
  if (resume_from_ && !elsewhere_) {
    refuse_later_checkpoints(overwrite);
  } else if (!overwrite && warning_.empty() && !is_empty_or_missing(path_)) {
    bad_input("--output_dir ", path_.string(),
              ": is not empty; --resume_from_checkpoint latest goes on with the run in it, "
              "--overwrite_output_dir replaces it");
  }
}

OutputFolder::~OutputFolder() {
  if (lock_ >= 0) close(lock_);
}

void OutputFolder::choose_checkpoint(const std::string& wanted, bool overwrite) {
  if (wanted == "latest") {
    const auto checkpoints = list_checkpoints(path_);
    if (!checkpoints.empty()) {
      resume_from_ = checkpoints.back().path;
      return;
    }
    if (there_is(path_ / "model_index.json") && !overwrite)
      bad_input("--resume_from_checkpoint latest: ", path_.string(),
                " holds a model but no checkpoint; "
                "--overwrite_output_dir trains a new one in its place");
    warning_ = path_.string() + ": has no checkpoint yet; training starts from the beginning";
    return;
  }
  // As diffusers, which looks for the last part of the path in the output folder.
  const fs::path inside = path_ / resolved(wanted).filename();
  if (is_folder(wanted))
    resume_from_ = wanted;
  else if (is_folder(inside))
    resume_from_ = inside;
  else
    bad_input("--resume_from_checkpoint ", wanted, ": no such checkpoint");
  elsewhere_ = resolved(*resume_from_).parent_path() != resolved(path_);
}

/// They belong to a course that the run is about to leave; "latest" would find them, and the limit on the
/// number of checkpoints would keep them rather than new ones.
void OutputFolder::refuse_later_checkpoints(bool overwrite) {
  const auto checkpoints = list_checkpoints(path_);
  if (overwrite || checkpoints.empty() || resolved(checkpoints.back().path) == resolved(*resume_from_))
    return;
  bad_input("--resume_from_checkpoint ", resume_from_->string(), ": there are later checkpoints, up to ",
            checkpoints.back().path.filename().string(), "; --overwrite_output_dir removes them");
}

void OutputFolder::open(int64_t step) {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) failure("--output_dir ", path_.string(), ": cannot make the folder: ", error.message());
  take();
  remove_stale_temporaries(path_);
  remove_run(resume_from_ && !elsewhere_ ? step : -1);
  fs::create_directory(samples(), error);
  if (error) failure(samples().string(), ": cannot make the folder: ", error.message());
  remove_stale_temporaries(samples());
  const fs::path before = resume_from_ ? resolved(*resume_from_).parent_path() / "metrics.jsonl" : "";
  if (elsewhere_ && there_is(before)) write_file(metrics(), read_file(before));
}

void OutputFolder::take() {
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) failure("--output_dir ", path_.string(), ": cannot open the folder");
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    bad_input("--output_dir ", path_.string(), ": another run is writing there");
}

/// What lies behind `after_step`; with -1 everything.
void OutputFolder::remove_run(int64_t after_step) {
  for (const CheckpointEntry& c : list_checkpoints(path_)) {
    if (c.step > after_step) remove_tree(c.path);
  }
  if (after_step >= 0) return;
  for (const char* name : {"model_index.json", "unet", "scheduler", "metrics.jsonl", "report.html"})
    remove_tree(path_ / name);
  for (const fs::path& file : files_in(samples())) {
    if (file.filename().string().starts_with("step-") && file.extension() == ".png") remove_tree(file);
  }
  for (const fs::path& file : files_in(event_files())) {
    if (file.filename().string().starts_with("events.out.tfevents.")) remove_tree(file);
  }
}

fs::path OutputFolder::sample_grid(int64_t step) const {
  char name[40];
  std::snprintf(name, sizeof name, "step-%06lld.png", static_cast<long long>(step));
  return samples() / name;
}

}  // namespace imago
