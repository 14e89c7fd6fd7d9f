// The GPU as a Backend: the device, its memory and its stream. Operations are in the folders
// of their families.
#include "kernels/cuda/runtime/cuda_backend.h"

#include <algorithm>
#include <memory>

#include "kernels/cuda/runtime/autotune.h"
#include "kernels/cuda/runtime/transfer.h"

namespace imago {
namespace IMAGO_CUDA_NAMESPACE {
namespace {

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  IMAGO_CUDA(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

}  // namespace

// ---- The device ----

CudaBackend::CudaBackend(int device) : CudaBackend(device, TuningSettings::from_environment()) {}

CudaBackend::CudaBackend(int device, const TuningSettings& tuning)
    : staged_upload_(std::make_unique<StagedUpload>()),
      pinned_buffers_(std::make_shared<PinnedBuffers>()),
      autotuner_(std::make_unique<Autotuner>(tuning)) {
  gpu_.autotuner = autotuner_.get();
  IMAGO_CUDA(cudaSetDevice(device));
  gpu_.sms = attribute(cudaDevAttrMultiProcessorCount, device);
  gpu_.capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor, device) +
                    attribute(cudaDevAttrComputeCapabilityMinor, device);
  gpu_.shared_bytes = static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  if (gpu_.capability < 80)
    bad_input("the GPU has compute capability ", gpu_.capability / 10, ".", gpu_.capability % 10,
              "; bfloat16 tensor cores and asynchronous copies need 8.0 or newer");
  IMAGO_CUDA(cudaStreamCreateWithFlags(&gpu_.stream, cudaStreamNonBlocking));
}

CudaBackend::~CudaBackend() {
  cudaStreamSynchronize(gpu_.stream);  // errors have nowhere to go from a destructor
  cudaStreamDestroy(gpu_.stream);
}

const char* CudaBackend::name() const {
  return kEmulated ? "cuda_on_cpu" : "cuda";
}

// ---- Memory ----

DeviceMemory CudaBackend::memory() const {
  DeviceMemory m;
  IMAGO_CUDA(cudaMemGetInfo(&m.free, &m.total));
  return m;
}

void* CudaBackend::allocate(size_t bytes) {
  void* p = nullptr;
  const cudaError_t error = cudaMalloc(&p, std::max<size_t>(bytes, 1));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  checked(error, "cudaMalloc");
  return p;
}

void CudaBackend::deallocate(void* p, size_t) {
  IMAGO_CUDA(cudaFree(p));
}

void CudaBackend::synchronize() {
  IMAGO_CUDA(cudaStreamSynchronize(gpu_.stream));
}

}  // namespace IMAGO_CUDA_NAMESPACE

// ---- The two ways in ----

#ifndef IMAGO_CUDA_ON_CPU
Backend* cuda_backend() {
  static const std::unique_ptr<Backend> backend = []() -> std::unique_ptr<Backend> {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess ||
        devices == 0) {  // no driver, or a driver without a GPU
      cudaGetLastError();
      return nullptr;
    }
    return std::make_unique<IMAGO_CUDA_NAMESPACE::CudaBackend>();
  }();
  return backend.get();
}
#else
Backend& cuda_on_cpu_backend() {
  static IMAGO_CUDA_NAMESPACE::CudaBackend backend;
  return backend;
}
#endif

}  // namespace imago
