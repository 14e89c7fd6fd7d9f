#include "engine/data/parquet/rle.h"

#include <algorithm>

#include "engine/data/parquet/bits.h"
#include "kernels/error.h"

namespace imago::parquet {

std::vector<uint32_t> decode_rle(std::string_view bytes, int bit_width, size_t count,
                                 const std::string& where) {
  const auto width = static_cast<size_t>(bit_width);
  std::vector<uint32_t> values;
  values.reserve(count);
  BitReader reader(bytes, where);
  while (values.size() < count) {
    const uint64_t header = reader.varint(), missing = count - values.size();
    if (header % 2 == 0) {
      const auto value = static_cast<uint32_t>(reader.bits((width + 7) / 8 * 8));
      if (width < 32 && value >> width != 0) bad_input(where, ": corrupt: a run's value is too large");
      values.insert(values.end(), std::min(header / 2, missing), value);
      continue;
    }
    const uint64_t groups = header / 2;  // of 8 values, width bytes each
    if (width > 0 && groups > reader.bytes_left() / width)
      bad_input(where, ": corrupt: packed values beyond the end of their page");
    const uint64_t wanted = groups > missing / 8 ? missing : groups * 8;  // the last group is filled up
    for (uint64_t i = 0; i < wanted; ++i) values.push_back(static_cast<uint32_t>(reader.bits(width)));
  }
  return values;
}

}  // namespace imago::parquet
