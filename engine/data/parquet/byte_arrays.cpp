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
  out.values.reserve(arrays.slices.size());
  for (const ByteArrays::Slice slice : arrays.slices)
    out.values.push_back(bytes.substr(begin + slice.offset, slice.size));
}

// Moves the values apart so that every row has one, or `null`.
template <class Value>
void insert_nulls(const std::vector<bool>& present, const Value& null, std::vector<Value>& values) {
  if (present.empty()) return;
  std::vector<Value> rows(present.size(), null);
  size_t next = 0;
  for (size_t i = 0; i < present.size(); ++i)
    if (present[i]) rows[i] = values[next++];
  values = std::move(rows);
}

}  // namespace

size_t ByteArrayPage::memory() const {
  return sizeof(*this) + bytes.capacity() + values.capacity() * sizeof(values[0]) +
         indices.capacity() * sizeof(indices[0]);
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

std::shared_ptr<const ByteArrayPage> ByteArrayColumn::read(const PageLocation& location) const {
  const std::string where = pages_.where(location);
  auto result = std::make_shared<ByteArrayPage>();
  Page page = pages_.read(location);
  const std::vector<bool> present = std::move(page.present);
  if (location.header.type == PageType::kDictionary) {
    fill_values(std::move(page), Encoding::kPlain, where, *result);
  } else if (uses_dictionary(location.header)) {
    const PageLocation* dictionary = pages_.dictionary(location.row_group);
    if (!dictionary) bad_input(where, ": corrupt: its dictionary is missing");
    result->indices = dictionary_indices(page, static_cast<size_t>(dictionary->header.num_values), where);
    insert_nulls(present, ByteArrayPage::kNull, result->indices);
  } else {
    fill_values(std::move(page), location.header.encoding, where, *result);
    insert_nulls(present, {}, result->values);
  }
  return result;
}

std::shared_ptr<const ByteArrayPage> ByteArrayColumn::load(const PageLocation& location,
                                                           PageCache& cache) const {
  return cache.get(location, [&] { return read(location); });
}

ByteArray ByteArrayColumn::value(int64_t row, PageCache& cache) const {
  const std::vector<PageLocation>& pages = pages_.data_pages();
  const auto behind =
      std::upper_bound(pages.begin(), pages.end(), row,
                       [](int64_t wanted, const PageLocation& page) { return wanted < page.first_row; });
  check(behind != pages.begin(), "ByteArrayColumn: no row ", row);
  const PageLocation& location = *(behind - 1);
  const auto at = static_cast<size_t>(row - location.first_row);
  check(at < static_cast<size_t>(location.header.num_values), "ByteArrayColumn: no row ", row);
  const auto page = load(location, cache);
  if (!uses_dictionary(location.header)) return {page->values[at], page};
  const uint32_t index = page->indices[at];
  if (index == ByteArrayPage::kNull) return {};
  const auto dictionary = load(*pages_.dictionary(location.row_group), cache);
  return {dictionary->values[index], dictionary};
}

}  // namespace imago::parquet
