// How our own loops are spread over threads, and how they pick their element type.
//
// Work is cut into chunks whose bounds depend on the shapes alone, never on the number of threads. Whoever
// computes a chunk computes the same bits, and partial results are combined in chunk order: so every loop of
// this folder gives the same bits for any number of threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/dtype.h"
#include "kernels/error.h"

namespace imago::cpu {

/// Elements below which a loop is not worth waking another thread.
inline constexpr int64_t kGrain = 16384;

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}
/// As many threads as OpenMP has: OMP_NUM_THREADS and omp_set_num_threads() rule our loops and oneDNN's
/// alike.
inline int max_threads() {
  return omp_get_max_threads();
}

/// Where a thread stands: as which of a loop's threads, if in any.
struct ThreadPlace {
  int index = 0;
  bool in_loop = false;
};
inline constinit thread_local ThreadPlace thread_place;

/// Of the threads of the innermost loop: 0 .. max_threads() - 1.
inline int thread_index() {
  return thread_place.index;
}

/// f(i) for i in [0, count). Every thread takes the next i when it has time: right for items that are long or
/// unequal, and beside busy neighbours. A loop within a loop is its thread's alone.
template <class F>
void parallel_items(int64_t count, F&& f) {
  const bool alone = thread_place.in_loop || omp_in_parallel();
  const auto threads = static_cast<int>(alone ? 1 : std::min<int64_t>(count, max_threads()));
  std::atomic<int64_t> next = 0;
  const auto take_items = [&](int index) {
    const ThreadPlace before = std::exchange(thread_place, {index, alone || threads > 1});
    const struct Return {
      const ThreadPlace& to;
      ~Return() { thread_place = to; }
    } back{before};
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) f(i);
  };
  if (threads > 1) {
    team_of_this_thread().run(threads, std::cref(take_items));
  } else {
    take_items(0);
  }
}

/// f(begin, end) for chunks of `chunk` consecutive elements of [0, n), several in a row to a thread: right
/// for streaming through memory.
template <class F>
void parallel_chunks(int64_t n, int64_t chunk, F&& f) {
  const int64_t count = ceil_div(n, chunk), runs = std::min(count, 4 * int64_t{max_threads()});
  parallel_items(runs, [&](int64_t run) {
    for (int64_t i = run * count / runs; i < (run + 1) * count / runs; ++i) {
      f(i * chunk, std::min(n, (i + 1) * chunk));
    }
  });
}

/// f(i, lanes) for i = begin, begin + kLanes, ... : lanes is kLanes, but for the last, shorter rest. The
/// calls are inlined, so that load_up_to(p + i, lanes) is a plain vector load in the body.
template <class F>
inline void vector_loop(int64_t begin, int64_t end, F&& f) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) f(i, int64_t{kLanes});
  if (i < end) f(i, end - i);
}

/// The same over [0, n), in parallel.
template <class F>
void parallel_vectors(int64_t n, F&& f) {
  parallel_chunks(n, kGrain, [&](int64_t begin, int64_t end) { vector_loop(begin, end, f); });
}

/// f.template operator()<T>() with T the type of the activations.
template <class F>
void dispatch(const char* what, DType dtype, F&& f) {
  if (dtype == DType::kFloat32) {
    f.template operator()<float>();
  } else if (dtype == DType::kBFloat16) {
    f.template operator()<bf16>();
  } else {
    failure(what, ": the CPU backend computes in float32 and bfloat16, not ", dtype);
  }
}

/// The same over every element type there is.
template <class F>
void dispatch_any(const char* what, DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat64: return f.template operator()<double>();
    case DType::kUInt8: return f.template operator()<uint8_t>();
    case DType::kInt32: return f.template operator()<int32_t>();
    case DType::kInt64: return f.template operator()<int64_t>();
    default: return dispatch(what, dtype, f);
  }
}

}  // namespace imago::cpu
