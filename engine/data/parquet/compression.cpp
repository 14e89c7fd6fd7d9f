#include "engine/data/parquet/compression.h"

#include <lz4.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>

#include "kernels/error.h"

namespace imago::parquet {
namespace {

// Each of these fills `out` from `packed` and says whether that worked and gave exactly as many bytes.

bool unpack_snappy(std::string_view packed, std::string& out) {
  size_t size = 0;  // as the data say
  if (snappy_uncompressed_length(packed.data(), packed.size(), &size) != SNAPPY_OK || size != out.size())
    return false;
  return snappy_uncompress(packed.data(), packed.size(), out.data(), &size) == SNAPPY_OK &&
         size == out.size();
}

// One gzip member after the other, as gzip itself allows.
bool unpack_gzip(std::string_view packed, std::string& out) {
  z_stream stream{};
  constexpr int kGzipOrZlib = 32 + MAX_WBITS;
  if (inflateInit2(&stream, kGzipOrZlib) != Z_OK) return false;
  const std::unique_ptr<z_stream, int (*)(z_stream*)> ended(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  int result = Z_OK;
  do {
    if (result == Z_STREAM_END && inflateReset(&stream) != Z_OK) return false;
    result = inflate(&stream, Z_FINISH);
  } while (result == Z_STREAM_END && stream.avail_in > 0);
  return result == Z_STREAM_END && stream.avail_out == 0;
}

bool unpack_zstd(std::string_view packed, std::string& out) {
  return ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size()) == out.size();
}

bool unpack_lz4(std::string_view packed, std::string& out) {
  const int size = LZ4_decompress_safe(packed.data(), out.data(), static_cast<int>(packed.size()),
                                       static_cast<int>(out.size()));
  return size >= 0 && static_cast<size_t>(size) == out.size();
}

}  // namespace

size_t largest_unpacked(size_t packed) {
  return std::max<size_t>(size_t{64} << 20, 64 * packed);
}

void check_codec(Codec codec, const std::string& where) {
  switch (codec) {
    case Codec::kUncompressed:
    case Codec::kSnappy:
    case Codec::kGzip:
    case Codec::kZstd:
    case Codec::kLz4Raw: return;
    default:
      bad_input(where, ": compressed with ", name_of(codec),
                "; expected UNCOMPRESSED, SNAPPY, GZIP, ZSTD or LZ4_RAW");
  }
}

std::string unpack(Codec codec, std::string_view packed, size_t size, const std::string& where) {
  check_codec(codec, where);
  if (size > largest_unpacked(packed.size()))
    bad_input(where, ": ", packed.size(), " bytes that claim to unpack to ", size);
  if (packed.empty() && size == 0) return {};  // a page of nulls; some codecs take no bytes for no values
  if (codec == Codec::kUncompressed) {
    if (packed.size() != size)
      bad_input(where, ": corrupt: ", packed.size(), " uncompressed bytes, ", size, " expected");
    return std::string(packed);
  }
  std::string out(size, '\0');
  const bool good = codec == Codec::kSnappy ? unpack_snappy(packed, out)
                    : codec == Codec::kGzip ? unpack_gzip(packed, out)
                    : codec == Codec::kZstd ? unpack_zstd(packed, out)
                                            : unpack_lz4(packed, out);
  if (!good) bad_input(where, ": corrupt ", name_of(codec), " data, or not of the ", size, " bytes expected");
  return out;
}

}  // namespace imago::parquet
