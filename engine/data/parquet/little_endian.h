// Numbers in little-endian bytes.
#pragma once

#include <cstdint>
#include <type_traits>

namespace imago::parquet {

/// The number whose lowest byte is bytes[0]; sizeof(Int) bytes are read.
template <class Int>
Int little_endian(const char* bytes) {
  std::make_unsigned_t<Int> value = 0;
  for (size_t i = 0; i < sizeof(Int); ++i)
    value |= static_cast<std::make_unsigned_t<Int>>(
        static_cast<std::make_unsigned_t<Int>>(static_cast<uint8_t>(bytes[i])) << (8 * i));
  return static_cast<Int>(value);
}

}  // namespace imago::parquet
