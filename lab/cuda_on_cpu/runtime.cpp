// The runtime API apart from streams: errors, devices, memory, kernel attributes and launches.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

#include "lab/cuda_on_cpu/launch.h"
#include "lab/cuda_on_cpu/memory.h"
#include "lab/cuda_on_cpu/report.h"
#include "lab/cuda_on_cpu/settings.h"
#include "lab/cuda_on_cpu/stream.h"
#include "lab/cuda_on_cpu/worker.h"

namespace imago::cuda_on_cpu {
namespace emu {
namespace {

thread_local cudaError_t last_error = cudaSuccess;
std::map<const void*, size_t> shared_limits;  // kernels allowed more than 48 KiB of dynamic shared memory
std::function<void(const LaunchRequest&)>
    launch_observer;  // sees launches instead of their running, where set

struct DeviceLimits {
  int sms;
  size_t shared_per_sm, shared_optin;
  int threads_per_sm, blocks_per_sm, l2_bytes;
};
DeviceLimits limits() {
  switch (Settings::get().compute_capability) {
    case 80: return {108, 164 << 10, 163 << 10, 2048, 32, 40 << 20};  // A100
    case 120: return {188, 100 << 10, 99 << 10, 1536, 24, 96 << 20};  // RTX PRO 6000 Blackwell
    default: return {132, 228 << 10, 227 << 10, 2048, 32, 50 << 20};  // H100 SXM
  }
}

}  // namespace

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t malloc_device(void** p, size_t bytes) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (r.captures) return remember(cudaErrorStreamCaptureUnsupported);
  *p = bytes ? allocate_device(bytes) : nullptr;
  return remember(*p || !bytes ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t malloc_device_async(void** p, size_t bytes, cudaStream_t stream) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (r.resolve(stream).capture)
    return remember(cudaErrorStreamCaptureUnsupported);  // no memory nodes in graphs here
  *p = bytes ? allocate_device(bytes) : nullptr;
  return remember(*p || !bytes ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t malloc_host(void** p, size_t bytes) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  *p = allocate_pinned(bytes);
  return remember(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t set_shared_limit(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<size_t>(value) > limits().shared_optin) return remember(cudaErrorInvalidValue);
  Lock lock(Runtime::get().mutex);
  shared_limits[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

size_t shared_limit(const void* kernel) {
  Lock lock(Runtime::get().mutex);
  const auto allowed = shared_limits.find(kernel);
  return std::max<size_t>(48 << 10, allowed == shared_limits.end() ? 0 : allowed->second);
}

cudaError_t occupancy(int* blocks, int threads, size_t dynamic_shared) {
  const DeviceLimits d = limits();
  if (threads < 1 || threads > 1024) return remember(cudaErrorInvalidValue);
  const int by_threads = d.threads_per_sm / ((threads + 31) / 32 * 32);
  const int by_shared =
      static_cast<int>(d.shared_per_sm / (dynamic_shared + 1024));  // the system keeps 1 KiB a block
  *blocks = std::min({by_threads, by_shared, d.blocks_per_sm});
  return cudaSuccess;
}

void check_argument(const void* p, SourceLine where) {
  Lock lock(Runtime::get().mutex);
  if (!p || in_device_memory(p, 0) || in_device_memory(static_cast<const char*>(p) - 1, 1) || is_pinned(p))
    return;
  die(where, "launch: argument %p points to ordinary host memory, or to freed device memory", p);
}

void observe_launches(std::function<void(const LaunchRequest&)> observer) {
  launch_observer = std::move(observer);
}

cudaError_t enqueue_launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes,
                           cudaStream_t stream, std::function<void()> body, SourceLine where) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  const bool grid_ok =
      grid.x && grid.y && grid.z && grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535;
  const bool block_ok = block.x && block.y && block.z && block.x <= 1024 && block.y <= 1024 &&
                        block.z <= 64 && block.x * block.y * block.z <= 1024;
  if (!grid_ok || !block_ok) return remember(cudaErrorInvalidConfiguration);
  if (shared_bytes > shared_limit(kernel)) return remember(cudaErrorInvalidValue);
  if (launch_observer) {
    launch_observer({kernel, grid, block, shared_bytes});
    return cudaSuccess;
  }
  const cudaKernelNodeParams params{const_cast<void*>(kernel),           grid,    block,
                                    static_cast<unsigned>(shared_bytes), nullptr, nullptr};
  return remember(r.enqueue(
      r.resolve(stream),
      [launch = Launch{grid, block, shared_bytes, where, std::move(body)}] { run_grid(launch); }, &params));
}

}  // namespace emu

using namespace emu;

// ---- errors and devices ----
cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  return last_error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureUnjoined: return "cudaErrorStreamCaptureUnjoined";
  }
  return "unknown error";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidResourceHandle: return "invalid resource handle";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureUnjoined: return "capture was not fully joined to the original stream";
  }
  return "unknown error";
}

cudaError_t cudaGetDeviceCount(int* count) {
  return *count = 1, cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return remember(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDevice(int* device) {
  return *device = 0, cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  return *version = 13000, cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  return *version = 13000, cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device != 0) return remember(cudaErrorInvalidDevice);
  const DeviceLimits d = limits();
  const int cc = Settings::get().compute_capability;
  *p = cudaDeviceProp{};
  std::snprintf(p->name, sizeof p->name, "CUDA on CPU (limits of sm_%d)", cc);
  p->totalGlobalMem = device_bytes_total();
  p->sharedMemPerBlock = 48 << 10, p->sharedMemPerBlockOptin = d.shared_optin;
  p->sharedMemPerMultiprocessor = d.shared_per_sm;
  p->major = cc / 10, p->minor = cc % 10;
  p->multiProcessorCount = d.sms, p->warpSize = 32, p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = d.threads_per_sm, p->maxBlocksPerMultiProcessor = d.blocks_per_sm;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536, p->l2CacheSize = d.l2_bytes;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (const cudaError_t e = cudaGetDeviceProperties(&p, device); e != cudaSuccess) return e;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(p.sharedMemPerBlock); break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
    default: return remember(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

// ---- memory ----
cudaError_t cudaFree(void* p) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (r.captures) return remember(cudaErrorStreamCaptureUnsupported);
  r.run_all();  // cudaFree synchronizes
  return remember(!p || free_device(p) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (!p) return cudaSuccess;
  if (!in_device_memory(p, 1)) return remember(cudaErrorInvalidValue);
  return remember(r.enqueue(r.resolve(stream), [p] { free_device(p); }));
}

cudaError_t cudaFreeHost(void* p) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (!r.captures) r.run_all();
  return remember(!p || free_pinned(p) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaHostRegister(void* p, size_t bytes, unsigned) {
  Lock lock(Runtime::get().mutex);
  if (!p || !bytes || is_pinned(p)) return remember(cudaErrorInvalidValue);
  register_pinned(p, bytes);
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* p) {
  return cudaFreeHost(p);
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  Lock lock(Runtime::get().mutex);
  *total = device_bytes_total();
  *free = *total - device_bytes_used();
  return cudaSuccess;
}

namespace {

/// The kind of a copy with cudaMemcpyDefault resolved; false when an address is not what the kind says.
bool resolve_kind(const void* dst, const void* src, size_t bytes, cudaMemcpyKind& kind) {
  const bool to_device = in_device_memory(dst, bytes), from_device = in_device_memory(src, bytes);
  const auto found = from_device ? (to_device ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost)
                                 : (to_device ? cudaMemcpyHostToDevice : cudaMemcpyHostToHost);
  if (kind == cudaMemcpyDefault) kind = found;
  return kind == found && (to_device || !in_device_memory(dst, 1)) &&
         (from_device || !in_device_memory(src, 1));
}

}  // namespace

cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (bytes == 0) return cudaSuccess;
  if (!resolve_kind(dst, src, bytes, kind)) return remember(cudaErrorInvalidValue);
  Stream& s = r.resolve(stream);
  // Pageable memory: the source has been read when the call returns, a destination has been written.
  if (kind == cudaMemcpyHostToDevice && !is_pinned(src) && !s.capture) {
    auto staged = std::make_shared<std::vector<char>>(static_cast<const char*>(src),
                                                      static_cast<const char*>(src) + bytes);
    return remember(r.enqueue(s, [=] { std::memcpy(dst, staged->data(), bytes); }));
  }
  const cudaError_t e = r.enqueue(s, [=] { std::memcpy(dst, src, bytes); });
  if (e == cudaSuccess && kind == cudaMemcpyDeviceToHost && !is_pinned(dst) && !s.capture)
    r.run_until(s, s.issued);
  return remember(e);
}

cudaError_t cudaMemcpy(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (r.captures) return remember(cudaErrorStreamCaptureUnsupported);
  const cudaError_t e = cudaMemcpyAsync(dst, src, bytes, kind, nullptr);
  if (e == cudaSuccess) r.run_until(r.default_stream, r.default_stream.issued);
  return e;
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (bytes == 0) return cudaSuccess;
  if (!in_device_memory(p, bytes)) return remember(cudaErrorInvalidValue);
  return remember(r.enqueue(r.resolve(stream), [=] { std::memset(p, value, bytes); }));
}

cudaError_t cudaMemset(void* p, int value, size_t bytes) {
  Lock lock(Runtime::get().mutex);
  if (Runtime::get().captures) return remember(cudaErrorStreamCaptureUnsupported);
  return cudaMemsetAsync(p, value, bytes, nullptr);
}

}  // namespace imago::cuda_on_cpu
