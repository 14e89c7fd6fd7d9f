// A column of byte arrays, read page by page.
#pragma once

#include <cstddef>
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

/// The values of a page; those of a dictionary page are its entries.
struct ByteArrayPage {
  std::vector<std::optional<std::string_view>> rows;  // nothing where null
  std::string bytes;                                  // in which they lie,
  std::shared_ptr<const ByteArrayPage> dictionary;    // or in those of their dictionary

  /// What it keeps in memory, its dictionary included.
  size_t memory() const;
};

/// The pages used last, up to `max_bytes` of them (one that is larger is kept until the next is asked for).
/// Safe from several threads; two that miss the same page both read it.
class PageCache {
 public:
  using PagePointer = std::shared_ptr<const ByteArrayPage>;
  explicit PageCache(size_t max_bytes) : max_bytes_(max_bytes) {}
  /// The page of that location, from `read` if it is not held. A location is known by its address.
  PagePointer get(const PageLocation& location, const std::function<PagePointer()>& read);
  /// Those held now; a dictionary counts for each page that uses it.
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

/// The column of `pages`, whose type is BYTE_ARRAY. Bad input if a page is in an encoding that cannot be
/// read.
class ByteArrayColumn {
 public:
  explicit ByteArrayColumn(ColumnPages pages);
  const ColumnPages& pages() const { return pages_; }
  /// The page that has this row of the file, and the row's number within it. Bad input as ColumnPages::read
  /// and decode_byte_arrays, and for dictionaries that are missing or too short.
  std::shared_ptr<const ByteArrayPage> page_with(int64_t row, PageCache& cache, size_t& row_of_page) const;

 private:
  std::shared_ptr<const ByteArrayPage> read(const PageLocation& location, PageCache& cache) const;
  ColumnPages pages_;
};

}  // namespace imago::parquet
