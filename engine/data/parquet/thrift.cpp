#include "engine/data/parquet/thrift.h"

#include "kernels/error.h"

namespace imago::parquet {
namespace {

constexpr int kMaxDepth = 64;

}  // namespace

void ThriftReader::corrupt(const char* what) const {
  bad_input(where_, ": corrupt Thrift: ", what);
}

void ThriftReader::expect(ThriftType type) const {
  if (type_ != type) corrupt("a value has an unexpected type");
}

void ThriftReader::enter() {
  if (++depth_ > kMaxDepth) corrupt("structs are nested too deeply");
}

uint8_t ThriftReader::byte() {
  if (at_ == bytes_.size()) corrupt("it ends too early");
  return static_cast<uint8_t>(bytes_[at_++]);
}

// Seven bits a byte, the lowest first; the eighth bit says that more follow.
uint64_t ThriftReader::varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const uint8_t b = byte();
    value |= uint64_t{b & 0x7fu} << shift;
    if (b < 0x80) return value;
  }
  corrupt("an integer is longer than 64 bits");
}

// 0, -1, 1, -2, ... as 0, 1, 2, 3, ...
int64_t ThriftReader::zigzag() {
  const uint64_t value = varint();
  return static_cast<int64_t>(value >> 1 ^ (~(value & 1) + 1));
}

// A byte with the distance of the id from the one before and the type; distance 0: the id follows. A zero
// byte ends the struct.
bool ThriftReader::next_field(int& id) {
  const uint8_t header = byte();
  if (header == 0) return false;
  const int64_t next = header >> 4 ? id + (header >> 4) : zigzag();
  if (next < INT16_MIN || next > INT16_MAX) corrupt("a field's id is not a 16-bit number");
  id = static_cast<int>(next);
  type_ = static_cast<ThriftType>(header & 15);
  return true;
}

// A byte with the size and the type; size 15: the size follows. Every element takes at least one byte.
size_t ThriftReader::list_header(ThriftType& type) {
  const uint8_t header = byte();
  type = static_cast<ThriftType>(header & 15);
  const uint64_t size = header >> 4 == 15 ? varint() : header >> 4;
  if (size > bytes_.size() - at_) corrupt("a list is longer than its bytes");
  return size;
}

int64_t ThriftReader::integer() {
  switch (type_) {
    case ThriftType::kByte: return static_cast<int8_t>(byte());
    case ThriftType::kInt16:
    case ThriftType::kInt32:
    case ThriftType::kInt64: return zigzag();
    default: corrupt("a value has an unexpected type");
  }
}

bool ThriftReader::boolean() {
  if (type_ != ThriftType::kTrue) expect(ThriftType::kFalse);
  return type_ == ThriftType::kTrue;
}

std::string_view ThriftReader::binary() {
  expect(ThriftType::kBinary);
  const uint64_t size = varint();
  if (size > bytes_.size() - at_) corrupt("a text is longer than its bytes");
  const std::string_view text = bytes_.substr(at_, size);
  at_ += size;
  return text;
}

void ThriftReader::skip_bytes(size_t count) {
  if (count > bytes_.size() - at_) corrupt("it ends too early");
  at_ += count;
}

void ThriftReader::skip(ThriftType type) {
  type_ = type;
  // In lists and maps, truth values take a byte; as a field's value they are never skipped over a byte.
  const auto skip_element = [&](ThriftType element) {
    if (element == ThriftType::kTrue || element == ThriftType::kFalse)
      skip_bytes(1);
    else
      skip(element);
  };
  switch (type) {
    case ThriftType::kTrue:
    case ThriftType::kFalse: return;
    case ThriftType::kByte: return skip_bytes(1);
    case ThriftType::kDouble: return skip_bytes(8);
    case ThriftType::kInt16:
    case ThriftType::kInt32:
    case ThriftType::kInt64: static_cast<void>(varint()); return;
    case ThriftType::kBinary: return skip_bytes(varint());
    case ThriftType::kStruct: return structure([](int) { return false; });
    case ThriftType::kList:
    case ThriftType::kSet: {
      enter();
      ThriftType element;
      const size_t size = list_header(element);
      for (size_t i = 0; i < size; ++i) skip_element(element);
      --depth_;
      return;
    }
    case ThriftType::kMap: {  // the size, then a byte with both types, then keys and values in turn
      enter();
      const uint64_t size = varint();
      if (size > bytes_.size() - at_) corrupt("a map is longer than its bytes");
      const uint8_t types = size > 0 ? byte() : 0;
      for (uint64_t i = 0; i < size; ++i) {
        skip_element(static_cast<ThriftType>(types >> 4));
        skip_element(static_cast<ThriftType>(types & 15));
      }
      --depth_;
      return;
    }
  }
  corrupt("a value has an unknown type");
}

}  // namespace imago::parquet
