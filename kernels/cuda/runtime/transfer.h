// Copies between host and device that let both go on working.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Copies host memory to the device in stream order through two pinned buffers, so that the caller may reuse
/// its memory at once and the copy of one chunk overlaps the filling of the next. A step's inputs are one
/// chunk: the host gets two steps ahead of the device before it waits here.
class StagedUpload {
 public:
  ~StagedUpload();
  void operator()(cudaStream_t stream, void* device, const void* host, size_t bytes);

 private:
  static constexpr size_t kChunk = 16 << 20;  // bytes, at most: 64 images of 3 x 256 x 256
  struct Slot {
    void* pinned = nullptr;
    size_t capacity = 0;           // bytes; grows to what is asked
    cudaEvent_t copied = nullptr;  // the device has read the buffer
  };
  static void make_room(Slot& slot, size_t bytes);

  std::array<Slot, 2> slots_;
  int next_ = 0;
  std::mutex mutex_;
};

/// A pool of pinned host memory for downloads. A buffer is lent to one download and used again after it, so
/// that the steady state of training allocates none.
class PinnedBuffers {
 public:
  struct Buffer {
    void* pinned = nullptr;
    size_t capacity = 0;           // bytes
    cudaEvent_t copied = nullptr;  // the download has arrived
  };
  ~PinnedBuffers();
  Buffer take(size_t bytes);
  void give_back(const Buffer& buffer);

 private:
  std::vector<Buffer> free_;
  std::mutex mutex_;
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
