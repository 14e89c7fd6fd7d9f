#include "engine/data/parquet/byte_arrays.h"

#include <algorithm>

#include "engine/data/parquet/encodings.h"
#include "kernels/error.h"

namespace imago::parquet {
namespace {

// The page's own values, without regard to nulls.
void fill_values(Page page, Encoding encoding, const std::string& where, ByteArrayPage& out) {
  ByteArrays arrays = decode_byte_arrays(encoding, page.values(), page.num_values, where);
  const size_t begin = arrays.in_storage ? 0 : page.values_begin;
  out.bytes = arrays.in_storage ? std::move(arrays.storage) : std::move(page.bytes);
  const std::string_view bytes = out.bytes;
  out.rows.reserve(arrays.slices.size());
  for (const ByteArrays::Slice slice : arrays.slices)
    out.rows.push_back(bytes.substr(begin + slice.offset, slice.size));
}

// Moves the values apart so that every row of the page has one, or nothing.
void insert_nulls(const std::vector<bool>& present, ByteArrayPage& page) {
  if (present.empty()) return;
  std::vector<std::optional<std::string_view>> rows(present.size());
  size_t next = 0;
  for (size_t i = 0; i < present.size(); ++i)
    if (present[i]) rows[i] = page.rows[next++];
  page.rows = std::move(rows);
}

}  // namespace

size_t ByteArrayPage::memory() const {
  return sizeof(*this) + bytes.capacity() + rows.capacity() * sizeof(rows[0]) +
         (dictionary ? dictionary->memory() : 0);
}

PageCache::PagePointer PageCache::get(const PageLocation& location,
                                      const std::function<PagePointer()>& read) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = places_.find(&location); found != places_.end()) {
      held_.splice(held_.begin(), held_, found->second);
      return found->second->page;
    }
  }
  PagePointer page = read();
  const std::lock_guard lock(mutex_);
  if (places_.contains(&location)) return page;  // another thread was faster
  bytes_ += page->memory();
  held_.push_front({&location, page});
  places_[&location] = held_.begin();
  while (bytes_ > max_bytes_ && held_.size() > 1) {
    bytes_ -= held_.back().page->memory();
    places_.erase(held_.back().location);
    held_.pop_back();
  }
  return page;
}

size_t PageCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

ByteArrayColumn::ByteArrayColumn(ColumnPages pages) : pages_(std::move(pages)) {
  check(pages_.leaf().type == Type::kByteArray, "ByteArrayColumn: ", name_of(pages_.leaf().type));
  for (const PageLocation& page : pages_.data_pages()) {
    const Encoding encoding = page.header.encoding;
    if (!uses_dictionary(page.header) && encoding != Encoding::kPlain &&
        encoding != Encoding::kDeltaLengthByteArray && encoding != Encoding::kDeltaByteArray)
      bad_input(pages_.where(page), ": in the encoding ", name_of(encoding),
                "; expected PLAIN, a dictionary, DELTA_LENGTH_BYTE_ARRAY or DELTA_BYTE_ARRAY");
  }
}

std::shared_ptr<const ByteArrayPage> ByteArrayColumn::read(const PageLocation& location,
                                                           PageCache& cache) const {
  const std::string where = pages_.where(location);
  auto result = std::make_shared<ByteArrayPage>();
  Page page = pages_.read(location);
  const std::vector<bool> present = std::move(page.present);
  if (location.header.type == PageType::kDictionary) {
    fill_values(std::move(page), Encoding::kPlain, where, *result);
  } else if (!uses_dictionary(location.header)) {
    fill_values(std::move(page), location.header.encoding, where, *result);
  } else {
    const PageLocation* dictionary = pages_.dictionary(location.row_group);
    if (!dictionary) bad_input(where, ": corrupt: its dictionary is missing");
    result->dictionary = cache.get(*dictionary, [&] { return read(*dictionary, cache); });
    const auto& entries = result->dictionary->rows;
    for (const uint32_t index : dictionary_indices(page, entries.size(), where))
      result->rows.push_back(entries[index]);
  }
  insert_nulls(present, *result);
  return result;
}

std::shared_ptr<const ByteArrayPage> ByteArrayColumn::page_with(int64_t row, PageCache& cache,
                                                                size_t& row_of_page) const {
  const std::vector<PageLocation>& pages = pages_.data_pages();
  const auto behind =
      std::upper_bound(pages.begin(), pages.end(), row,
                       [](int64_t wanted, const PageLocation& page) { return wanted < page.first_row; });
  check(behind != pages.begin(), "ByteArrayColumn: no row ", row);
  const PageLocation& location = *(behind - 1);
  row_of_page = static_cast<size_t>(row - location.first_row);
  auto page = cache.get(location, [&] { return read(location, cache); });
  check(row_of_page < page->rows.size(), "ByteArrayColumn: no row ", row);
  return page;
}

}  // namespace imago::parquet
