// Copies between host and device: the classes of transfer.h, and the backend's methods made of them.
#include "kernels/cuda/runtime/transfer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

// ---- To the device ----

StagedUpload::~StagedUpload() {
  for (Slot& slot : slots_) {
    if (slot.copied) cudaEventDestroy(slot.copied);
    if (slot.pinned) cudaFreeHost(slot.pinned);
  }
}

/// Afterwards nothing reads the slot's buffer, and `bytes` fit in.
void StagedUpload::make_room(Slot& slot, size_t bytes) {
  if (slot.copied)
    IMAGO_CUDA(cudaEventSynchronize(slot.copied));
  else
    IMAGO_CUDA(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming));
  if (bytes <= slot.capacity) return;
  if (slot.pinned) IMAGO_CUDA(cudaFreeHost(std::exchange(slot.pinned, nullptr)));
  IMAGO_CUDA(cudaMallocHost(&slot.pinned, bytes));
  slot.capacity = bytes;
}

void StagedUpload::operator()(cudaStream_t stream, void* device, const void* host, size_t bytes) {
  const std::lock_guard lock(mutex_);
  for (size_t done = 0; done < bytes;) {
    Slot& slot = slots_[next_];
    next_ = (next_ + 1) % slots_.size();
    const size_t n = std::min(kChunk, bytes - done);
    make_room(slot, n);
    std::memcpy(slot.pinned, static_cast<const char*>(host) + done, n);
    IMAGO_CUDA(
        cudaMemcpyAsync(static_cast<char*>(device) + done, slot.pinned, n, cudaMemcpyHostToDevice, stream));
    IMAGO_CUDA(cudaEventRecord(slot.copied, stream));
    done += n;
  }
}

void CudaBackend::upload(void* device, const void* host, size_t bytes) {
  check(!recording_, "cuda: an upload while operations are being recorded");
  (*staged_upload_)(gpu_.stream, device, host, bytes);
}

// ---- To the host ----

PinnedBuffers::~PinnedBuffers() {
  for (Buffer& b : free_) {
    cudaEventDestroy(b.copied);
    cudaFreeHost(b.pinned);
  }
}

PinnedBuffers::Buffer PinnedBuffers::take(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto fits =
      std::find_if(free_.begin(), free_.end(), [&](const Buffer& b) { return b.capacity >= bytes; });
  if (fits != free_.end()) {
    const Buffer b = *fits;
    free_.erase(fits);
    return b;
  }
  Buffer b{nullptr, bytes, nullptr};
  IMAGO_CUDA(cudaMallocHost(&b.pinned, bytes));
  IMAGO_CUDA(cudaEventCreateWithFlags(&b.copied, cudaEventDisableTiming));
  return b;
}

void PinnedBuffers::give_back(const Buffer& buffer) {
  const std::lock_guard lock(mutex_);
  free_.push_back(buffer);
}

namespace {

class StreamDownload final : public Download {
 public:
  StreamDownload(std::shared_ptr<PinnedBuffers> buffers, cudaStream_t stream, const void* device,
                 size_t bytes)
      : buffers_(std::move(buffers)), buffer_(buffers_->take(bytes)) {
    IMAGO_CUDA(cudaMemcpyAsync(buffer_.pinned, device, bytes, cudaMemcpyDeviceToHost, stream));
    IMAGO_CUDA(cudaEventRecord(buffer_.copied, stream));
  }
  ~StreamDownload() override {
    cudaEventSynchronize(buffer_.copied);  // nobody else gets the buffer before the copy is over
    buffers_->give_back(buffer_);
  }
  bool arrived() override {
    const cudaError_t state = cudaEventQuery(buffer_.copied);
    if (state == cudaErrorNotReady) {
      cudaGetLastError();  // or the next launch would be blamed for it
      return false;
    }
    checked(state, "cudaEventQuery");
    return true;
  }
  const void* wait() override {
    IMAGO_CUDA(cudaEventSynchronize(buffer_.copied));
    return buffer_.pinned;
  }

 private:
  std::shared_ptr<PinnedBuffers> buffers_;
  PinnedBuffers::Buffer buffer_;
};

}  // namespace

void CudaBackend::download(void* host, const void* device, size_t bytes) {
  check(!recording_, "cuda: a download while operations are being recorded");
  if (bytes) IMAGO_CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, gpu_.stream));
  synchronize();
}

std::unique_ptr<Download> CudaBackend::download_later(const void* device, size_t bytes) {
  return std::make_unique<StreamDownload>(pinned_buffers_, gpu_.stream, device, bytes);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
