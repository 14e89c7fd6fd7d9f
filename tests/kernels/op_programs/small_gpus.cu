// The small GPUs of test_gpu_ops, made of the first real one.
#include "tests/kernels/op_programs/small_gpus.h"

namespace imago::test {

std::vector<Backend*> small_gpus() {
  return cuda::small_gpus(static_cast<cuda::CudaBackend*>(cuda_backend())->gpu().capability);
}

}  // namespace imago::test
