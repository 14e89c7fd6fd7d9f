#include "engine/data/image_cache.h"

#include "engine/image/resize.h"
#include "kernels/error.h"

namespace imago {

ImageCache::ImageCache(std::shared_ptr<const Dataset> set, const Options& options)
    : set_(std::move(set)),
      options_(options),
      slots_(std::make_unique<std::atomic<const Image*>[]>(static_cast<size_t>(set_->size()))) {}

ImageCache::~ImageCache() {
  for (int64_t i = 0; i < set_->size(); ++i) delete slots_[static_cast<size_t>(i)].load();
}

Image ImageCache::convert(int64_t i) const {
  const Image image = with_channels(set_->image(i), options_.channels);
  return options_.center_crop ? resize_and_crop(image, options_.height, options_.width)
                              : resize_to_cover(image, options_.height, options_.width);
}

const Image* ImageCache::load(int64_t i, Image& scratch) {
  std::atomic<const Image*>& slot = slots_[static_cast<size_t>(i)];
  if (const Image* image = slot.load(std::memory_order_acquire)) return image;
  Image made = convert(i);
  const size_t cost = cost_of(made.pixels.size());
  if (bytes_.fetch_add(cost) + cost > options_.max_bytes) {
    bytes_ -= cost;
    scratch = std::move(made);
    return &scratch;
  }
  const auto* kept = new Image(std::move(made));
  const Image* other = nullptr;
  if (slot.compare_exchange_strong(other, kept, std::memory_order_acq_rel)) return kept;
  delete kept;  // another thread was faster
  bytes_ -= cost;
  return other;
}

ImageCache::Found ImageCache::get(int64_t i, Image& scratch) {
  for (int64_t tried = 0; tried < set_->size(); ++tried) {
    const int64_t j = (i + tried) % set_->size();
    if (is_broken(j)) continue;
    try {
      return {load(j, scratch), j};
    } catch (const Error& e) {
      if (set_->broken_images().refuse || e.fault != Fault::kBadInput) throw;
      mark_broken(j, e.what());
    }
  }
  bad_input(set_->description(), ": no image can be decoded");
}

bool ImageCache::is_broken(int64_t i) {
  if (!any_broken_) return false;
  const std::lock_guard lock(broken_mutex_);
  return broken_.contains(i);
}

void ImageCache::mark_broken(int64_t i, const std::string& message) {
  const std::lock_guard lock(broken_mutex_);
  any_broken_ = true;
  if (broken_.insert(i).second) set_->broken_images().warn(message + "; the next image takes its place");
}

}  // namespace imago
