// The hybrid of run lengths and bit packing: levels, dictionary indices and truth values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace imago::parquet {

/// `count` values of bit_width bits each (0..32). A run begins with a varint h:
///   h even   one value, in ceil(bit_width / 8) bytes, h/2 times
///   h odd    8 (h-1)/2 values, packed from the lowest bit of the first byte up
/// Bad input "WHERE: ..." if the bytes end before that many values. Bytes after them are ignored.
/// Source: https://github.com/apache/parquet-format/blob/master/Encodings.md (RLE = 3)
std::vector<uint32_t> decode_rle(std::string_view bytes, int bit_width, size_t count,
                                 const std::string& where);

}  // namespace imago::parquet
