// CUDA's host API as this folder sees it: its namespace, and what becomes of its error codes.
//
// The same sources are compiled twice: for GPUs against the CUDA toolkit, in namespace imago::cuda,
// and for the CPU against headers of the same names that emulate it, in imago::cuda_on_cpu. One
// program can hold both.
#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

#include "kernels/cuda/source_line.h"
#include "kernels/error.h"

#ifdef IMAGO_CUDA_ON_CPU
#define IMAGO_CUDA_NAMESPACE cuda_on_cpu
#else
#define IMAGO_CUDA_NAMESPACE cuda
#endif

namespace imago::IMAGO_CUDA_NAMESPACE {

#ifdef IMAGO_CUDA_ON_CPU
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

/// Throws unless the call succeeded. `what` was tried: "launching a kernel", or the call itself, of which the
/// message takes the name: "CUDA: cudaFree failed: invalid argument (...)". Where memory has run out, it says
/// what to do.
inline void checked(cudaError_t error, std::string_view what, SourceLine where = SourceLine::current()) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it is reported here: no later call shall be blamed for it
  what = what.substr(0, what.find('('));
  if (error != cudaErrorMemoryAllocation)
    failure("CUDA: ", what, " failed: ", cudaGetErrorString(error), " (", where.file, ":", where.line, ")");
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  const auto mebibytes = [](size_t bytes) { return static_cast<double>(bytes >> 10) / 1024; };
  failure(
      "out of GPU memory in ", what, ": ", mebibytes(free), " MiB of ", mebibytes(total),
      " MiB are free; use a smaller batch, a smaller model or bfloat16, or end other programs on this GPU");
}
#define IMAGO_CUDA(call) ::imago::IMAGO_CUDA_NAMESPACE::checked((call), #call)

}  // namespace imago::IMAGO_CUDA_NAMESPACE
