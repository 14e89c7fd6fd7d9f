#include "engine/data/parquet/encodings.h"

#include "engine/data/parquet/compression.h"
#include "engine/data/parquet/delta.h"
#include "engine/data/parquet/little_endian.h"
#include "engine/data/parquet/rle.h"
#include "kernels/error.h"

namespace imago::parquet {
namespace {

[[noreturn]] void values_end(const std::string& where) {
  bad_input(where, ": corrupt: its values end too early");
}

[[noreturn]] void refuse_encoding(Type type, Encoding encoding, const std::string& where) {
  bad_input(where, ": ", name_of(type), " in the encoding ", name_of(encoding), ", which cannot be read");
}

template <class Int>
std::vector<int64_t> plain_integers(std::string_view bytes, size_t count, const std::string& where) {
  if (count > bytes.size() / sizeof(Int)) values_end(where);
  std::vector<int64_t> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = little_endian<Int>(bytes.data() + i * sizeof(Int));
  return values;
}

std::vector<int64_t> plain_booleans(std::string_view bytes, size_t count, const std::string& where) {
  if ((count + 7) / 8 > bytes.size()) values_end(where);
  std::vector<int64_t> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<uint8_t>(bytes[i / 8]) >> i % 8 & 1;
  return values;
}

// Behind the length of the whole, 4 bytes.
std::vector<int64_t> rle_booleans(std::string_view bytes, size_t count, const std::string& where) {
  if (bytes.size() < 4) values_end(where);
  const std::vector<uint32_t> values = decode_rle(bytes.substr(4), 1, count, where);
  return {values.begin(), values.end()};
}

// Rewrites values that were computed modulo 2^64 to what their type holds.
std::vector<int64_t> narrowed(std::vector<int64_t> values, Type type) {
  if (type == Type::kInt32)
    for (int64_t& v : values) v = static_cast<int32_t>(v);
  return values;
}

ByteArrays plain_byte_arrays(std::string_view bytes, size_t count, const std::string& where) {
  constexpr size_t kLength = 4;
  if (count > bytes.size() / kLength) values_end(where);
  ByteArrays arrays;
  arrays.slices.reserve(count);
  for (size_t i = 0, at = 0; i < count; ++i) {
    if (bytes.size() - at < kLength) values_end(where);
    const size_t length = little_endian<uint32_t>(bytes.data() + at);
    at += kLength;
    if (length > bytes.size() - at) bad_input(where, ": corrupt: a value of ", length, " bytes");
    arrays.slices.push_back({at, length});
    at += length;
  }
  return arrays;
}

ByteArrays delta_length_byte_arrays(std::string_view bytes, size_t count, const std::string& where) {
  size_t at = 0;
  const std::vector<int64_t> lengths = decode_delta(bytes, count, where, at);
  ByteArrays arrays;
  arrays.slices.reserve(count);
  for (const int64_t length : lengths) {
    if (length < 0 || static_cast<size_t>(length) > bytes.size() - at)
      bad_input(where, ": corrupt: a value of ", length, " bytes");
    arrays.slices.push_back({at, static_cast<size_t>(length)});
    at += static_cast<size_t>(length);
  }
  return arrays;
}

ByteArrays delta_byte_arrays(std::string_view bytes, size_t count, const std::string& where) {
  size_t at = 0;
  const std::vector<int64_t> prefixes = decode_delta(bytes, count, where, at);
  const std::string_view rest = bytes.substr(at);
  const ByteArrays suffixes = delta_length_byte_arrays(rest, count, where);
  ByteArrays arrays{{}, true, {}};
  arrays.slices.reserve(count);
  ByteArrays::Slice before;
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    if (prefixes[i] < 0 || static_cast<size_t>(prefixes[i]) > before.size)
      bad_input(where, ": corrupt: a shared prefix longer than the value before");
    const auto prefix = static_cast<size_t>(prefixes[i]);
    const ByteArrays::Slice suffix = suffixes.slices[i];
    const ByteArrays::Slice value{total, prefix + suffix.size};
    total += value.size;
    if (total > largest_unpacked(bytes.size())) bad_input(where, ": shared prefixes that never end");
    arrays.storage.append(arrays.storage, before.offset, prefix).append(rest, suffix.offset, suffix.size);
    arrays.slices.push_back(value);
    before = value;
  }
  return arrays;
}

}  // namespace

std::vector<int64_t> decode_integers(Type type, Encoding encoding, std::string_view bytes, size_t count,
                                     const std::string& where) {
  if (type == Type::kBoolean) {
    if (encoding == Encoding::kPlain) return plain_booleans(bytes, count, where);
    if (encoding == Encoding::kRle) return rle_booleans(bytes, count, where);
  } else if (type == Type::kInt32 || type == Type::kInt64) {
    size_t end = 0;
    if (encoding == Encoding::kDeltaBinaryPacked)
      return narrowed(decode_delta(bytes, count, where, end), type);
    if (encoding == Encoding::kPlain)
      return type == Type::kInt32 ? plain_integers<int32_t>(bytes, count, where)
                                  : plain_integers<int64_t>(bytes, count, where);
  }
  refuse_encoding(type, encoding, where);
}

ByteArrays decode_byte_arrays(Encoding encoding, std::string_view bytes, size_t count,
                              const std::string& where) {
  switch (encoding) {
    case Encoding::kPlain: return plain_byte_arrays(bytes, count, where);
    case Encoding::kDeltaLengthByteArray: return delta_length_byte_arrays(bytes, count, where);
    case Encoding::kDeltaByteArray: return delta_byte_arrays(bytes, count, where);
    default: refuse_encoding(Type::kByteArray, encoding, where);
  }
}

}  // namespace imago::parquet
