// DELTA_BINARY_PACKED: whole numbers as packed differences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace imago::parquet {

/// `count` values, computed modulo 2^64; `end` becomes the place behind them:
///   header   values a block, miniblocks a block, number of values (varints), first value (zigzag)
///   blocks   least difference d (zigzag), a bit width for each miniblock (1 byte), then the miniblocks:
///            values x_i - x_(i-1) - d of that many bits; those that no value needs are left out at the end
/// Bad input "WHERE: ..." if the header counts otherwise, has blocks that are no multiple of 128 or
/// miniblocks that are no multiple of 32, if a width is above 64, or if the bytes end before.
/// Source: https://github.com/apache/parquet-format/blob/master/Encodings.md (DELTA_BINARY_PACKED = 5)
std::vector<int64_t> decode_delta(std::string_view bytes, size_t count, const std::string& where,
                                  size_t& end);

}  // namespace imago::parquet
