#include "lab/cuda_on_cpu/report.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "lab/cuda_on_cpu/device.h"
#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu::emu {

std::string brief(SourceLine where) {
  const char* slash = std::strrchr(where.file, '/');
  return std::string(slash ? slash + 1 : where.file) + ":" + std::to_string(where.line);
}

bool same_op(const char* a, const char* b) {
  return a == b || std::strcmp(a, b) == 0;
}

void Worker::print_threads() const {
  auto state = [&](int i) {
    const Fiber& f = *fibers_[i];
    if (f.done) return std::string("returned");
    if (&f == current_) return std::string("running");
    if (!f.waits_for) return std::string("ready to run");
    return "waits in " + std::string(f.waits_for) + ", " + brief(f.where);
  };
  for (int i = 0; i < threads_;) {
    int end = i + 1;
    const std::string s = state(i);
    while (end < threads_ && state(end) == s) ++end;
    if (end - i > 1)
      std::fprintf(stderr, "  threads %d-%d: %s\n", i, end - 1, s.c_str());
    else
      std::fprintf(stderr, "  thread %d: %s\n", i, s.c_str());
    i = end;
  }
}

void report_and_abort(const std::string& headline) {
  static std::mutex one_report_only;
  one_report_only.lock();
  std::fprintf(stderr, "cuda_on_cpu: %s\n", headline.c_str());
  if (worker) {
    const Launch& l = worker->launch();
    std::fprintf(stderr, "  kernel launched at %s, grid (%u,%u,%u), block (%u,%u,%u), in block (%u,%u,%u)\n",
                 brief(l.where).c_str(), l.grid.x, l.grid.y, l.grid.z, l.block.x, l.block.y, l.block.z,
                 blockIdx.x, blockIdx.y, blockIdx.z);
    worker->print_threads();
  }
  std::fflush(stderr);
  std::abort();
}

void die(SourceLine where, const char* format, ...) {
  char message[1024];
  va_list args;
  va_start(args, format);
  std::vsnprintf(message, sizeof message, format, args);
  va_end(args);
  std::string headline = message;
  if (worker && worker->in_block()) headline += ", thread " + std::to_string(worker->current().index);
  if (where.line) headline += ", at " + brief(where);
  report_and_abort(headline);
}

}  // namespace imago::cuda_on_cpu::emu
