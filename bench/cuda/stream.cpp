#include "bench/cuda/stream.h"

#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago {

cudaStream_t cuda_stream() {
  return static_cast<cuda::CudaBackend*>(cuda_backend())->gpu().stream;
}

}  // namespace imago
