// Batches for training: shuffled, cropped, flipped, prefetched, and always the same.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "engine/data/dataset.h"

namespace imago {

class ImageCache;

struct LoaderOptions {
  int batch_size = 16;
  int height = 0, width = 0;  // of the batches; images are resized to cover this and cropped
  int channels = 3;           // 1 or 3; grey is widened, colour turned grey
  bool shuffle = true;
  bool center_crop = false;  // otherwise the crop is random
  bool random_flip = false;  // left to right, by the toss of a coin
  /// Leave out the last images of an epoch that do not fill a batch, so that every batch has the same
  /// shape. A set smaller than one batch is gone through several times within it.
  bool drop_last = true;
  int num_workers = 0;       // threads that prepare batches; 0: next() does it
  int prefetch_batches = 2;  // a worker, ahead of the one in use
  uint64_t seed = 0;
  size_t cache_bytes = size_t{4} << 30;  // for decoded images

  int64_t batches_ahead() const { return int64_t{num_workers} * prefetch_batches; }
  size_t image_bytes() const {  // of one image of a batch
    return static_cast<size_t>(height) * static_cast<size_t>(width) * static_cast<size_t>(channels);
  }
};

/// One batch, in memory of whoever reads it: the loader's threads crop images straight into it. N = size is
/// batch_size, but for the last batch of an epoch without drop_last.
struct Batch {
  std::span<uint8_t> images;          // [N,H,W,C]
  std::span<int64_t> ids;             // [N], global sample numbers: 0, 1, 2, ... over all epochs
  std::span<int32_t> labels;          // [N], -1 where the set has none
  std::vector<int64_t> indices = {};  // [N], of the images within the set
  int64_t epoch = 0, index = 0;       // index: within the epoch
  int size = 0;
  size_t slot = 0;  // which of the loader's ring it lies in
};

/// An endless sequence of batches, epoch after epoch. Batch number b of epoch e is a function of the set and
/// the options alone; the number of workers and where one started do not matter:
/// - the order of epoch e is a permutation drawn from (seed, e), or 0, 1, 2, ... without shuffle;
/// - crop and flip of image i come from (seed, e, i), and from how often i came up already in an epoch that
///   goes through the set several times.
/// For use from one thread. Errors in a worker surface in the next() that would have returned its batch.
///
/// Batches lie in a ring of memory that the caller owns: batch b, counted over all epochs, in slot b mod size
/// of the ring. The last `held` that next() returned stay as they are; the other slots are for the workers,
/// who prepare as many batches ahead.
class BatchLoader {
 public:
  /// ring: room for images, ids and labels of whole batches, and at least held + 1 of them where there are
  /// workers. Room for options.batches_ahead() + held keeps all workers busy.
  BatchLoader(std::shared_ptr<const Dataset> set, const LoaderOptions& options,
              const std::vector<Batch>& ring, int held = 1);
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;
  ~BatchLoader();

  int64_t batches_per_epoch() const { return batches_per_epoch_; }
  int64_t samples_per_epoch() const { return samples_per_epoch_; }
  /// The following next() returns this batch, as if all before it had been taken. batch may be
  /// batches_per_epoch() or more: it then counts on into later epochs.
  void seek(int64_t epoch, int64_t batch);
  /// Valid until next() has been called `held` more times, or seek() once.
  const Batch& next();

 private:
  // Memory for a batch, and the number of the one in it.
  struct Slot {
    Batch memory = {};  // of a whole batch
    Batch batch = {};   // what is in it
    int64_t ready = -1;
    std::exception_ptr error = nullptr;
  };
  using Order = std::vector<uint32_t>;

  void check_ring(const std::vector<Batch>& ring) const;
  void fill(int64_t number, Slot& slot);
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
  std::vector<Slot> slots_;
  const int64_t held_;  // how many batches before next_ are in use
  int64_t next_ = 0;    // the batch that next() returns
  int64_t taken_ = 0;   // the batch that the next free worker prepares
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

/// The order in which epoch `epoch` goes through n images: a Fisher-Yates shuffle (Knuth, TAOCP vol. 2,
/// algorithm 3.4.2P) whose draws come from Philox under (seed, epoch).
void shuffled_order(uint64_t seed, int64_t epoch, std::vector<uint32_t>& order);

}  // namespace imago
