// A column of byte arrays, read page by page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/data/parquet/pages.h"

namespace imago::parquet {

/// The values of a page, decoded: what its rows hold, or where that stands in the dictionary.
struct ByteArrayPage {
  static constexpr uint32_t kNull = UINT32_MAX;
  std::string bytes;                                    // in which the values lie
  std::vector<std::optional<std::string_view>> values;  // of its rows, or of a dictionary's entries
  std::vector<uint32_t> indices;  // of its rows, where it uses a dictionary; kNull: null

  /// What it keeps in memory.
  size_t memory() const;
};

/// One value, or nothing where it is null; `page` keeps its bytes in memory.
struct ByteArray {
  std::optional<std::string_view> bytes;
  std::shared_ptr<const ByteArrayPage> page;
};

/// The pages used last, up to `max_bytes` of them (one that is larger is kept until the next is asked for).
/// Safe from several threads; two that miss the same page both read it.
class PageCache {
 public:
  using PagePointer = std::shared_ptr<const ByteArrayPage>;
  explicit PageCache(size_t max_bytes) : max_bytes_(max_bytes) {}
  /// The page of that location, from `read` if it is not held. A location is known by its address.
  PagePointer get(const PageLocation& location, const std::function<PagePointer()>& read);
  /// Of those held now.
  size_t bytes() const;

 private:
  struct Held {
    const PageLocation* location;
    PagePointer page;
  };
  const size_t max_bytes_;
  mutable std::mutex mutex_;  // guards what follows
  std::list<Held> held_;      // the one used last comes first
  std::unordered_map<const PageLocation*, std::list<Held>::iterator> places_;
  size_t bytes_ = 0;
};

/// The column of `pages`, of type BYTE_ARRAY. Bad input if a page is in an encoding that cannot be read.
class ByteArrayColumn {
 public:
  explicit ByteArrayColumn(ColumnPages pages);
  const ColumnPages& pages() const { return pages_; }
  /// What this row of the file holds. Bad input as ColumnPages::read and decode_byte_arrays, and for
  /// dictionaries that are missing or too short.
  ByteArray value(int64_t row, PageCache& cache) const;

 private:
  std::shared_ptr<const ByteArrayPage> load(const PageLocation& location, PageCache& cache) const;
  std::shared_ptr<const ByteArrayPage> read(const PageLocation& location) const;
  ColumnPages pages_;
};

}  // namespace imago::parquet
