#include "engine/data/loader.h"

#include <algorithm>
#include <numeric>
#include <system_error>

#include "engine/data/image_cache.h"
#include "engine/image/resize.h"
#include "engine/random/streams.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace imago {
namespace {

// Uniform in 0 .. bound-1; the bias, bound / 2^32, is far too small to see.
uint32_t below(uint32_t bound, uint32_t word) {
  return static_cast<uint32_t>(uint64_t{word} * bound >> 32);
}

void check_options(const Dataset& set, const LoaderOptions& o) {
  const auto positive = [](const char* name, int64_t value) {
    if (value < 1) bad_input(name, " should be at least 1, not ", value);
  };
  positive("the batch size", o.batch_size);
  positive("the resolution", std::min(o.height, o.width));
  if (std::max(o.height, o.width) > 65536) bad_input("the resolution should be at most 65536");
  if (o.channels != 1 && o.channels != 3) bad_input("images can have 1 or 3 channels, not ", o.channels);
  if (o.num_workers < 0 || o.num_workers > 1024)
    bad_input("number of loader threads: ", o.num_workers, " of 0 to 1024");
  positive("the number of prefetched batches", o.prefetch_batches);
  positive("the number of images", set.size());
  if (set.size() > UINT32_MAX) bad_input(set.description(), ": more than 2^32 images");
}

}  // namespace

void shuffled_order(uint64_t seed, int64_t epoch, std::vector<uint32_t>& order) {
  std::iota(order.begin(), order.end(), 0u);
  const uint32_t words = random_stream(Purpose::kShuffle, static_cast<uint32_t>(epoch));
  for (uint32_t i = static_cast<uint32_t>(order.size()); i > 1; --i)
    std::swap(order[i - 1], order[below(i, random_words(seed, words, 0, i).w0)]);
}

BatchLoader::BatchLoader(std::shared_ptr<const Dataset> set, const LoaderOptions& options,
                         const std::vector<Batch>& ring, int held)
    : set_(std::move(set)), options_(options), held_(held) {
  check_options(*set_, options_);
  check_ring(ring);
  cache_ = std::make_unique<ImageCache>(
      set_, ImageCache::Options{options_.height, options_.width, options_.channels, options_.center_crop,
                                options_.cache_bytes});
  const int64_t size = set_->size(), batch = options_.batch_size;
  batches_per_epoch_ = options_.drop_last ? std::max<int64_t>(1, size / batch) : (size + batch - 1) / batch;
  samples_per_epoch_ = options_.drop_last ? batches_per_epoch_ * batch : size;
  for (const Batch& memory : ring) slots_.push_back({.memory = memory});
}

BatchLoader::~BatchLoader() {
  stop();
}

void BatchLoader::check_ring(const std::vector<Batch>& ring) const {
  check(static_cast<int64_t>(ring.size()) >= held_ + (options_.num_workers > 0) && held_ > 0, "a ring of ",
        ring.size(), " batches, of which ", held_, " are in use");
  const auto size = static_cast<size_t>(options_.batch_size);
  for (const Batch& b : ring)
    check(b.images.size() == size * options_.image_bytes() && b.ids.size() == size && b.labels.size() == size,
          "memory for a batch of ", b.ids.size(), " images of ", b.images.size(), " bytes in all; expected ",
          size, " of ", options_.image_bytes(), " each");
}

void BatchLoader::seek(int64_t epoch, int64_t batch) {
  check(epoch >= 0 && batch >= 0, "seek to batch ", batch, " of epoch ", epoch);
  const int64_t number = epoch * batches_per_epoch_ + batch;
  stop();
  for (Slot& slot : slots_) {
    slot.ready = -1;
    slot.error = nullptr;
  }
  next_ = taken_ = number;
}

std::shared_ptr<const BatchLoader::Order> BatchLoader::order_of(int64_t epoch) {
  const std::lock_guard lock(order_mutex_);
  const size_t place = static_cast<size_t>(epoch % 2);
  if (order_epochs_[place] != epoch) {
    auto order = std::make_shared<Order>(static_cast<size_t>(set_->size()));
    shuffled_order(options_.seed, epoch, *order);
    orders_[place] = std::move(order);  // a worker may still use the old one
    order_epochs_[place] = epoch;
  }
  return orders_[place];
}

void BatchLoader::fill(int64_t number, Slot& slot) {
  const LoaderOptions& o = options_;
  Batch& batch = slot.batch;
  const int64_t epoch = number / batches_per_epoch_, index = number % batches_per_epoch_;
  const int64_t first = index * o.batch_size;  // sample within the epoch
  const int size = static_cast<int>(std::min<int64_t>(o.batch_size, samples_per_epoch_ - first));
  const size_t count = static_cast<size_t>(size), bytes = o.image_bytes();
  batch.epoch = epoch, batch.index = index, batch.size = size;
  batch.slot = static_cast<size_t>(&slot - slots_.data());
  batch.images = slot.memory.images.first(count * bytes);
  batch.ids = slot.memory.ids.first(count);
  batch.labels = slot.memory.labels.first(count);
  batch.indices.resize(count);

  const std::shared_ptr<const Order> order = o.shuffle ? order_of(epoch) : nullptr;
  const uint32_t augment = random_stream(Purpose::kAugment, static_cast<uint32_t>(epoch));
  Image scratch;
  for (size_t k = 0; k < count; ++k) {
    const int64_t sample = first + static_cast<int64_t>(k), place = sample % set_->size();
    const int64_t wanted = order ? (*order)[static_cast<size_t>(place)] : place;
    const auto [image, i] = cache_->get(wanted, scratch);
    const PhiloxWords words =
        random_words(o.seed, augment, wanted, static_cast<uint32_t>(sample / set_->size()));
    const int top = static_cast<int>(below(static_cast<uint32_t>(image->height - o.height + 1), words.w0));
    const int left = static_cast<int>(below(static_cast<uint32_t>(image->width - o.width + 1), words.w1));
    const bool flip = o.random_flip && words.w2 >> 31;
    copy_window(*image, top, left, o.height, o.width, flip, batch.images.data() + k * bytes);
    batch.labels[k] = set_->label(i);
    batch.ids[k] = epoch * samples_per_epoch_ + sample;
    batch.indices[k] = i;
  }
}

const Batch& BatchLoader::next() {
  Slot& slot = slots_[static_cast<size_t>(next_) % slots_.size()];
  if (options_.num_workers == 0) {
    fill(next_, slot);
    ++next_;
    return slot.batch;
  }
  if (workers_.empty()) start();
  std::unique_lock lock(mutex_);
  to_consumer_.wait(lock, [&] { return slot.ready == next_; });
  if (slot.error) std::rethrow_exception(slot.error);  // and again, if asked again
  ++next_;
  to_workers_.notify_one();  // the oldest of those in use is free now
  return slot.batch;
}

void BatchLoader::start() {
  stopping_ = false;
  try {
    for (int i = 0; i < options_.num_workers; ++i) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error& e) {
    stop();
    failure("cannot start ", options_.num_workers, " loader threads: ", e.what());
  }
}

void BatchLoader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  to_workers_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

// Takes the next batch that nobody prepares, as soon as its slot is free: the consumer may still look at
// batch next_ - held_, whose slot is that of batch next_ - held_ + number of slots.
void BatchLoader::work() {
  const int64_t slots = static_cast<int64_t>(slots_.size());
  std::unique_lock lock(mutex_);
  for (;;) {
    to_workers_.wait(lock, [&] { return stopping_ || taken_ < next_ - held_ + slots; });
    if (stopping_) return;
    const int64_t number = taken_++;
    Slot& slot = slots_[static_cast<size_t>(number % slots)];
    lock.unlock();
    std::exception_ptr error;
    try {
      fill(number, slot);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    slot.error = error;
    slot.ready = number;
    to_consumer_.notify_one();
  }
}

}  // namespace imago
