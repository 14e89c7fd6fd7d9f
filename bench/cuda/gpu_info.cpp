// gpu_info: the first NVIDIA GPU of this machine as one JSON object. Exit 3: there is none, and why.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <nlohmann/json.hpp>

int main() {
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    return std::printf("no CUDA device: no driver, or one older than CUDA %d\n", CUDART_VERSION / 1000), 3;
  }
  if (error != cudaSuccess) return std::printf("no CUDA device: %s\n", cudaGetErrorString(error)), 3;
  if (count == 0) return std::printf("no CUDA device: none is visible\n"), 3;
  cudaDeviceProp p{};
  if (cudaGetDeviceProperties(&p, 0) != cudaSuccess)
    return std::printf("the CUDA device does not answer\n"), 1;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const nlohmann::ordered_json info{{"name", p.name},
                                    {"capability", 10 * p.major + p.minor},
                                    {"multiprocessors", p.multiProcessorCount},
                                    {"memory_mib", p.totalGlobalMem >> 20},
                                    {"l2_mib", p.l2CacheSize >> 20},
                                    {"driver_cuda", driver},
                                    {"runtime_cuda", runtime}};
  std::printf("%s\n", info.dump().c_str());
}
