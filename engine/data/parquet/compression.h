// Unpacking the pages of a Parquet file.
#pragma once

#include <string>
#include <string_view>

#include "engine/data/parquet/metadata.h"

namespace imago::parquet {

/// What `packed` may grow into at most: 64 MiB, or 64 times its size. Images are compressed already and
/// labels are small, so anything beyond is a decompression bomb.
size_t largest_unpacked(size_t packed);

/// Bad input "WHERE: ..." unless pages of this codec can be unpacked: UNCOMPRESSED, SNAPPY, GZIP, ZSTD,
/// LZ4_RAW.
void check_codec(Codec codec, const std::string& where);

/// Unpacks one page of exactly `size` bytes. Bad input "WHERE: ..." for anything else, damaged data, sizes
/// beyond largest_unpacked, and other codecs.
/// Source: https://github.com/apache/parquet-format/blob/master/Compression.md
std::string unpack(Codec codec, std::string_view packed, size_t size, const std::string& where);

}  // namespace imago::parquet
