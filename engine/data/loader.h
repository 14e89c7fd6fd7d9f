// Batches for training: shuffled, cropped, flipped, prefetched, and always the same.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/data/dataset.h"
#include "kernels/tensor_ref.h"

namespace imago {

class ImageCache;

struct LoaderOptions {
  int batch_size = 16;
  int height = 0, width = 0;  // of the batches; images are resized to cover this and cropped
  int channels = 3;           // 1 or 3; grey is widened, colour turned grey
  bool shuffle = true;
  bool center_crop = false;  // otherwise the crop is random
  bool random_flip = false;  // left to right, every second time
  /// Leave out the last images of an epoch that do not fill a batch, so that every batch has the same
  /// shape. A set smaller than one batch is gone through several times within it.
  bool drop_last = true;
  int num_workers = 0;       // threads that prepare batches; 0: next() does it
  int prefetch_batches = 2;  // a worker, ahead of the one in use
  uint64_t seed = 0;
  size_t cache_bytes = size_t{4} << 30;  // for decoded images
  bool strict_data = false;              // as in DatasetOptions
  Warn warn = print_warning;             // may be called from a worker
};

/// One batch. N = size is batch_size, but for the last batch of an epoch without drop_last.
struct Batch {
  int64_t epoch = 0, index = 0;  // index: within the epoch
  int size = 0, height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;  // [N,H,W,C]
  std::vector<int32_t> labels;  // [N], -1 where the set has none
  std::vector<int64_t> ids;     // [N], global sample numbers: 0, 1, 2, ... over all epochs
  std::vector<int64_t> images;  // [N], numbers within the set

  ConstTensorRef pixels_ref() const {
    return {
        pixels.data(), DType::kUInt8, {int64_t{size}, int64_t{height}, int64_t{width}, int64_t{channels}}};
  }
};

/// An endless sequence of batches, epoch after epoch. Batch number b of epoch e is a function of the set and
/// the options alone; the number of workers and where one started do not matter:
/// - the order of epoch e is a permutation drawn from (seed, e), or 0, 1, 2, ... without shuffle;
/// - crop and flip of image i come from (seed, e, i), and from how often i came up already in an epoch that
///   goes through the set several times.
/// For use from one thread. Errors in a worker surface in the next() that would have returned its batch.
class BatchLoader {
 public:
  BatchLoader(std::shared_ptr<const Dataset> set, const LoaderOptions& options);
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;
  ~BatchLoader();

  int64_t batches_per_epoch() const { return batches_per_epoch_; }
  int64_t samples_per_epoch() const { return samples_per_epoch_; }
  /// The following next() returns this batch, as if all before it had been taken. batch may be
  /// batches_per_epoch() or more: it then counts on into later epochs.
  void seek(int64_t epoch, int64_t batch);
  /// Valid until the following call of next() or seek(). Its buffers are used again and again.
  const Batch& next();

 private:
  // A batch and the number of the one it holds or will hold; batches count from 0 over all epochs.
  struct Slot {
    Batch batch;
    int64_t ready = -1;
    std::exception_ptr error;
  };
  using Order = std::vector<uint32_t>;

  void fill(int64_t number, Batch& batch);
  std::shared_ptr<const Order> order_of(int64_t epoch);
  void start();
  void stop();
  void work();

  std::shared_ptr<const Dataset> set_;
  LoaderOptions options_;
  std::unique_ptr<ImageCache> cache_;
  int64_t batches_per_epoch_ = 0, samples_per_epoch_ = 0;

  std::mutex order_mutex_;
  std::array<std::shared_ptr<const Order>, 2> orders_;  // of an even and an odd epoch
  std::array<int64_t, 2> order_epochs_{-1, -1};

  std::mutex mutex_;  // guards what follows
  std::condition_variable to_workers_, to_consumer_;
  std::vector<Slot> slots_;  // batch b belongs into slot b mod number of slots
  int64_t next_ = 0;         // the batch that next() returns
  int64_t taken_ = 0;        // the batch that the next free worker prepares
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

/// The order in which epoch `epoch` goes through n images: a Fisher-Yates shuffle (Knuth, TAOCP vol. 2,
/// algorithm 3.4.2P) whose draws come from Philox under (seed, epoch).
void shuffled_order(uint64_t seed, int64_t epoch, std::vector<uint32_t>& order);

}  // namespace imago
