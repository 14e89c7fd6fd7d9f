// The checksum CRC-32C (Castagnoli).
#pragma once

#include <cstdint>
#include <string_view>

namespace imago {

/// Polynomial 0x1edc6f41, bits reflected, start and end value inverted: crc32c("123456789") is 0xe3069283.
/// Source: RFC 3720, appendix B.4.
uint32_t crc32c(std::string_view bytes);

}  // namespace imago
