// Warnings of a program that shows a progress bar.
#pragma once

#include <mutex>
#include <string>

#include "engine/report/progress.h"

namespace imago {

/// Prints warnings, from any thread: above the progress bar while there is one.
class Warner {
 public:
  explicit Warner(std::string program) : program_(std::move(program)) {}
  void operator()(const std::string& message);
  /// null: there is no bar (any more).
  void attach(Progress* progress);

 private:
  std::string program_;
  std::mutex mutex_;
  Progress* progress_ = nullptr;
};

}  // namespace imago
