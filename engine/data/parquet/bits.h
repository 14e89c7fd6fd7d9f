// Reading packed bits and varints.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/error.h"

namespace imago::parquet {

/// Takes numbers off the front of `bytes`. Bad input "WHERE: ..." if they end before.
class BitReader {
 public:
  BitReader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  /// The next `count` bits (0..64), the lowest first.
  uint64_t bits(size_t count) {
    uint64_t value = 0;
    for (size_t have = 0; have < count;) {
      if (used_ == 8) next_byte();
      const size_t take = count - have < 8 - used_ ? count - have : 8 - used_;
      value |= (uint64_t{current_} >> used_ & ((1u << take) - 1)) << have;
      used_ += take;
      have += take;
    }
    return value;
  }

  /// Goes on with the next whole byte.
  void align() { used_ = 8; }

  /// Seven bits a byte, the lowest first; the eighth says that more follow. Begins with a whole byte.
  uint64_t varint() {
    align();
    uint64_t value = 0;
    for (size_t shift = 0; shift < 64; shift += 7) {
      const uint64_t byte = bits(8);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    bad_input(where_, ": corrupt: an integer is longer than 64 bits");
  }

  /// A varint that counts 0, -1, 1, -2, ...; modulo 2^64.
  uint64_t zigzag() {
    const uint64_t value = varint();
    return value >> 1 ^ (~(value & 1) + 1);
  }

  /// Whole bytes that have not been touched.
  size_t bytes_left() const { return bytes_.size() - at_; }

  /// Goes on `count` bytes later.
  void skip(size_t count) {
    align();
    if (count > bytes_left()) end_too_early();
    at_ += count;
  }

 private:
  [[noreturn]] void end_too_early() const { bad_input(where_, ": corrupt: its values end too early"); }
  void next_byte() {
    if (at_ == bytes_.size()) end_too_early();
    current_ = static_cast<uint8_t>(bytes_[at_++]);
    used_ = 0;
  }

  std::string_view bytes_;
  const std::string& where_;
  size_t at_ = 0;
  size_t used_ = 8;  // bits of current_
  uint8_t current_ = 0;
};

}  // namespace imago::parquet
