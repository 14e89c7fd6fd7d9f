// Images at the training resolution, decoded once.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>

#include "engine/data/dataset.h"

namespace imago {

/// Converts the images of a set (channels first, then resize_to_cover; a centre crop too if asked) and
/// remembers the results until `max_bytes` are full; later ones are decoded anew each time. Safe from several
/// threads.
///
/// An image that cannot be decoded is replaced by the next one in the set that can, with one warning, so
/// that the length of an epoch never depends on when the damage is found; a set that refuses broken images
/// makes it an error.
class ImageCache {
 public:
  struct Options {
    int height = 0, width = 0, channels = 3;
    bool center_crop = false;
    size_t max_bytes = 0;
  };
  struct Found {
    const Image* image;  // at least height x width
    int64_t index;       // i, or that of its replacement
  };

  ImageCache(std::shared_ptr<const Dataset> set, const Options& options);
  ImageCache(const ImageCache&) = delete;
  ImageCache& operator=(const ImageCache&) = delete;
  ~ImageCache();
  /// The result lives in the cache, or in `scratch` when the cache is full.
  Found get(int64_t i, Image& scratch);
  /// Bytes held, bookkeeping included.
  size_t bytes() const { return bytes_; }
  /// What one image of so many pixels costs.
  static constexpr size_t cost_of(size_t pixel_bytes) {
    return pixel_bytes + sizeof(Image) + 32;  // 32: what malloc adds to two blocks
  }

 private:
  Image convert(int64_t i) const;
  const Image* load(int64_t i, Image& scratch);
  void mark_broken(int64_t i, const std::string& message);
  bool is_broken(int64_t i);

  std::shared_ptr<const Dataset> set_;
  Options options_;
  std::unique_ptr<std::atomic<const Image*>[]> slots_;
  std::atomic<size_t> bytes_{0};
  std::atomic<bool> any_broken_{false};
  std::mutex broken_mutex_;
  std::set<int64_t> broken_;
};

}  // namespace imago
