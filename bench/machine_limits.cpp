#include "bench/machine_limits.h"

#include <omp.h>

#include <cstring>

namespace imago {

namespace {

#ifdef __AVX512F__
constexpr int kVectorBytes = 64;
#else
constexpr int kVectorBytes = 32;
#endif
using Vector [[gnu::vector_size(kVectorBytes)]] = float;
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(float));

// Two units that each start a multiply-add a cycle and end it four or five cycles later want ten chains; AVX2
// has sixteen registers.
constexpr int kChains = 12;
constexpr int64_t kRounds = 1 << 22;  // some milliseconds: next to them, waking a thread is nothing

/// sum <- sum * a + b, on every chain.
float run_chains(float a, float b) {
  Vector sums[kChains];
  for (int j = 0; j < kChains; ++j) sums[j] = Vector{} + static_cast<float>(j);
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) sums[j] = sums[j] * a + b;
  }
  float total = 0;
  for (const Vector& s : sums) total += s[0];
  return total;
}

constexpr size_t kCopyFloats = size_t{64} << 20;  // 256 MiB

}  // namespace

void FmaLoop::run() {
  volatile float one = 0.5f, other = 0.25f;  // unknown to the compiler
  float total = 0;
#pragma omp parallel reduction(+ : total)
  total += run_chains(one, other);
  one = total;
}

double FmaLoop::flops() const {
  return 2.0 * static_cast<double>(kRounds) * kChains * kLanes * omp_get_max_threads();
}

CopyLoop::CopyLoop() : x_(kCopyFloats, 1.0f), y_(kCopyFloats, 0.0f) {}

void CopyLoop::run() {
#pragma omp parallel
  {
    const size_t threads = static_cast<size_t>(omp_get_num_threads()),
                 i = static_cast<size_t>(omp_get_thread_num());
    const size_t begin = kCopyFloats * i / threads, end = kCopyFloats * (i + 1) / threads;
    std::memcpy(y_.data() + begin, x_.data() + begin, (end - begin) * sizeof(float));
  }
}

double CopyLoop::bytes() const {
  return 2.0 * static_cast<double>(kCopyFloats * sizeof(float));
}

}  // namespace imago
