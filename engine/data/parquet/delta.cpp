#include "engine/data/parquet/delta.h"

#include <algorithm>
#include <array>

#include "engine/data/parquet/bits.h"
#include "kernels/error.h"

namespace imago::parquet {
namespace {

constexpr uint64_t kMaxBlock = 1 << 20, kMaxMiniblocks = 256;

}  // namespace

std::vector<int64_t> decode_delta(std::string_view bytes, size_t count, const std::string& where,
                                  size_t& end) {
  const auto corrupt = [&](const auto&... what) { bad_input(where, ": corrupt differences: ", what...); };
  BitReader reader(bytes, where);
  const uint64_t block = reader.varint(), miniblocks = reader.varint(), total = reader.varint();
  uint64_t value = reader.zigzag();
  if (block == 0 || block > kMaxBlock || block % 128 != 0 || miniblocks == 0 || miniblocks > kMaxMiniblocks ||
      block % miniblocks != 0 || block / miniblocks % 32 != 0)
    corrupt("blocks of ", block, " values in ", miniblocks, " parts");
  if (total != count) corrupt(total, " values, ", count, " expected");

  const uint64_t part = block / miniblocks;
  std::vector<int64_t> values;
  values.reserve(count);
  if (count > 0) values.push_back(static_cast<int64_t>(value));
  while (values.size() < count) {
    const uint64_t least = reader.zigzag();
    std::array<uint64_t, kMaxMiniblocks> widths;
    for (uint64_t m = 0; m < miniblocks; ++m) widths[m] = reader.bits(8);
    for (uint64_t m = 0; m < miniblocks && values.size() < count; ++m) {
      if (widths[m] > 64) corrupt("a width of ", widths[m], " bits");
      const size_t wanted = std::min<size_t>(part, count - values.size());
      for (size_t i = 0; i < wanted; ++i)
        values.push_back(static_cast<int64_t>(value += least + reader.bits(widths[m])));
      reader.align();
      const uint64_t used = (wanted * widths[m] + 7) / 8;
      reader.skip(part * widths[m] / 8 - used);
    }
  }
  end = bytes.size() - reader.bytes_left();
  return values;
}

}  // namespace imago::parquet
