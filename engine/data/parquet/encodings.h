// How the values of a page lie in its bytes, except for dictionary indices (see rle.h).
// Source: https://github.com/apache/parquet-format/blob/master/Encodings.md
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/data/parquet/metadata.h"

namespace imago::parquet {

/// `count` values of a type that holds whole numbers, encoded one after the other:
///   BOOLEAN   PLAIN (packed bits, the lowest first), RLE
///   INT32     PLAIN (little-endian), DELTA_BINARY_PACKED
///   INT64     PLAIN (little-endian), DELTA_BINARY_PACKED
/// Bad input "WHERE: ..." for other types and encodings, and for bytes that end before.
std::vector<int64_t> decode_integers(Type type, Encoding encoding, std::string_view bytes, size_t count,
                                     const std::string& where);

/// Byte arrays that lie in a buffer of their own, or in the bytes that were decoded.
struct ByteArrays {
  std::string storage;  // filled if `in_storage`
  bool in_storage = false;
  struct Slice {
    size_t offset = 0, size = 0;
  };
  std::vector<Slice> slices;
};

/// `count` byte arrays:
///   PLAIN                     each behind its length, 4 bytes little-endian
///   DELTA_LENGTH_BYTE_ARRAY   all lengths in DELTA_BINARY_PACKED, then all bytes
///   DELTA_BYTE_ARRAY          the lengths of the prefixes that each shares with the one before, in
///                             DELTA_BINARY_PACKED, then the rests in DELTA_LENGTH_BYTE_ARRAY
/// Bad input "WHERE: ..." for other encodings, for bytes that end before, and for shared prefixes that add up
/// to more than largest_unpacked (compression.h).
ByteArrays decode_byte_arrays(Encoding encoding, std::string_view bytes, size_t count,
                              const std::string& where);

}  // namespace imago::parquet
