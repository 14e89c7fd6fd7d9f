#include "engine/data/picture_cache.h"

#include "engine/data/resize.h"
#include "kernels/error.h"

namespace imago {

PictureCache::PictureCache(std::shared_ptr<const Dataset> set, const Options& options)
    : set_(std::move(set)),
      options_(options),
      slots_(std::make_unique<std::atomic<const Picture*>[]>(static_cast<size_t>(set_->size()))) {}

PictureCache::~PictureCache() {
  for (int64_t i = 0; i < set_->size(); ++i) delete slots_[static_cast<size_t>(i)].load();
}

Picture PictureCache::convert(int64_t i) const {
  Picture picture =
      resize_to_cover(with_channels(set_->picture(i), options_.channels), options_.height, options_.width);
  if (!options_.center_crop || (picture.height == options_.height && picture.width == options_.width))
    return picture;
  Picture cropped{options_.height, options_.width, options_.channels, {}};
  cropped.pixels.resize(static_cast<size_t>(options_.height) *
                        static_cast<size_t>(options_.width * options_.channels));
  copy_window(picture, centre_offset(picture.height, options_.height),
              centre_offset(picture.width, options_.width), options_.height, options_.width, /*flip=*/false,
              cropped.pixels.data());
  return cropped;
}

const Picture* PictureCache::load(int64_t i, Picture& scratch) {
  std::atomic<const Picture*>& slot = slots_[static_cast<size_t>(i)];
  if (const Picture* picture = slot.load(std::memory_order_acquire)) return picture;
  Picture made = convert(i);
  const size_t cost = made.pixels.size() + sizeof(Picture) + 32;  // 32: what malloc adds to two blocks
  if (bytes_.fetch_add(cost) + cost > options_.max_bytes) {
    bytes_ -= cost;
    scratch = std::move(made);
    return &scratch;
  }
  const auto* kept = new Picture(std::move(made));
  const Picture* other = nullptr;
  if (slot.compare_exchange_strong(other, kept, std::memory_order_acq_rel)) return kept;
  delete kept;  // another thread was faster
  bytes_ -= cost;
  return other;
}

PictureCache::Found PictureCache::get(int64_t i, Picture& scratch) {
  for (int64_t tried = 0; tried < set_->size(); ++tried) {
    const int64_t j = (i + tried) % set_->size();
    if (is_broken(j)) continue;
    try {
      return {load(j, scratch), j};
    } catch (const Error& e) {
      if (options_.strict_data || e.fault != Fault::kBadInput) throw;
      mark_broken(j, e.what());
    }
  }
  bad_input(set_->description(), ": no picture can be decoded");
}

bool PictureCache::is_broken(int64_t i) {
  if (!any_broken_) return false;
  const std::lock_guard lock(broken_mutex_);
  return broken_.contains(i);
}

void PictureCache::mark_broken(int64_t i, const std::string& message) {
  const std::lock_guard lock(broken_mutex_);
  any_broken_ = true;
  if (broken_.insert(i).second) options_.warn(message + "; the next picture takes its place");
}

}  // namespace imago
