// Warnings of a program that shows a progress bar.
#pragma once

#include <mutex>
#include <string>
#include <utility>

#include "engine/report/progress.h"

namespace imago {

/// Prints warnings, from any thread: above the progress bar while there is one.
class Warner {
 public:
  explicit Warner(std::string program) : program_(std::move(program)) {}
  void operator()(const std::string& message);

  /// While alive, there is this bar.
  class Above {
   public:
    Above(Warner& warner, Progress& progress) : warner_(warner) { warner_.attach(&progress); }
    Above(const Above&) = delete;
    Above& operator=(const Above&) = delete;
    ~Above() { warner_.attach(nullptr); }

   private:
    Warner& warner_;
  };

 private:
  void attach(Progress* progress);

  std::string program_;
  std::mutex mutex_;
  Progress* progress_ = nullptr;
};

}  // namespace imago
