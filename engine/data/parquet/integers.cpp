#include "engine/data/parquet/integers.h"

#include "engine/data/parquet/encodings.h"
#include "kernels/error.h"

namespace imago::parquet {
namespace {

std::vector<int64_t> read_dictionary(const ColumnPages& column, const PageLocation& location) {
  const Page page = column.read(location);
  return decode_integers(column.leaf().type, Encoding::kPlain, page.values(), page.num_values,
                         column.where(location));
}

}  // namespace

std::vector<int64_t> read_integers(const ColumnPages& column, int64_t null) {
  std::vector<int64_t> rows, dictionary;
  const PageLocation* held = nullptr;  // what `dictionary` was read from
  for (const PageLocation& location : column.data_pages()) {
    const std::string where = column.where(location);
    const Page page = column.read(location);
    std::vector<int64_t> values;
    if (uses_dictionary(location.header)) {
      const PageLocation* wanted = column.dictionary(location.row_group);
      if (!wanted) bad_input(where, ": corrupt: its dictionary is missing");
      if (wanted != held) dictionary = read_dictionary(column, *wanted);
      held = wanted;
      for (const uint32_t index : dictionary_indices(page, dictionary.size(), where))
        values.push_back(dictionary[index]);
    } else {
      values = decode_integers(column.leaf().type, location.header.encoding, page.values(), page.num_values,
                               where);
    }
    if (page.present.empty()) {
      rows.insert(rows.end(), values.begin(), values.end());
      continue;
    }
    size_t next = 0;
    for (const bool present : page.present) rows.push_back(present ? values[next++] : null);
  }
  return rows;
}

}  // namespace imago::parquet
