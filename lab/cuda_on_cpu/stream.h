// Streams as queues of work that runs when it is waited for. Internal to the emulator.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "lab/cuda_on_cpu/toolkit/cuda_runtime_api.h"

namespace imago::cuda_on_cpu::emu {

/// The first `ticket` pieces of work of a stream.
struct Dependency {
  Stream* stream;
  uint64_t ticket;
};

struct Work {
  std::function<void()> run;
  std::vector<Dependency> after;
};

struct GraphNode {
  std::function<void()> run;
  std::vector<size_t> after;
  std::optional<cudaKernelNodeParams> kernel;  // absent: a copy or a fill
};
struct Graph {
  std::vector<GraphNode> nodes;
  std::set<Stream*> streams;  // that take part in the capture
  Stream* origin = nullptr;
};
struct GraphExec {
  std::vector<GraphNode> nodes;
};

struct Stream {
  bool blocking = true;  // ordered with the default stream
  std::deque<Work> queue;
  uint64_t issued = 0, done = 0;
  std::vector<Dependency> waits_for;  // of the next piece of work: event waits
  std::shared_ptr<Graph> capture;
  std::vector<size_t> last_nodes;  // what the next captured node comes after
  bool joined = true;              // capture: the origin has waited for the last node
};

struct Event {
  Dependency point{nullptr, 0};  // nothing recorded yet: always complete
  std::chrono::steady_clock::time_point time;
  std::shared_ptr<Graph> capture;  // recorded during a capture
  std::vector<size_t> nodes;
  std::vector<Stream*> covers;  // capture: streams whose last node this event covers
};

/// Everything behind the runtime API; one lock guards it, and kernels run under that lock.
struct Runtime {
  std::recursive_mutex mutex;
  Stream default_stream;
  std::set<Stream*> streams{&default_stream};
  std::set<Event*> events;
  int captures = 0;  // of mode "global": forbid synchronizing calls
  static Runtime& get();

  Stream& resolve(cudaStream_t s) { return s ? *s : default_stream; }
  /// `kernel`: what a graph should know of the work where it is a launch.
  cudaError_t enqueue(Stream& s, std::function<void()> work, const cudaKernelNodeParams* kernel = nullptr);
  void run_until(Stream& s, uint64_t ticket);
  void run_all();
};

/// Bytes of dynamic shared memory that a launch of the kernel may ask for at present.
size_t shared_limit(const void* kernel);

/// Remembers an error for cudaGetLastError and returns it.
cudaError_t remember(cudaError_t error);
using Lock = std::lock_guard<std::recursive_mutex>;

}  // namespace imago::cuda_on_cpu::emu
