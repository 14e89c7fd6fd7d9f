// The emulator's tensor map: what cuTensorMapEncodeTiled would encode, in the clear.
#pragma once

#include <cstdint>

namespace imago::cuda_on_cpu::emu {

enum class Swizzle : uint8_t { kNone, k32B, k64B, k128B };  // the values of CUtensorMapSwizzle

struct alignas(64) TensorMap {
  static constexpr uint32_t kMagic = 0x7e450;
  uint32_t magic = 0;
  uint8_t rank = 0, element_bytes = 0;
  Swizzle swizzle = Swizzle::kNone;
  bool fill_nan = false;
  unsigned char* base = nullptr;
  uint64_t strides[4] = {};  // bytes, of dimensions 1..; dimension 0 is contiguous
  uint32_t extents[5] = {};
  uint16_t box[5] = {};
};
static_assert(sizeof(TensorMap) == 128);

/// The XOR that a swizzle mode applies to a shared memory address: 16-byte chunks move within
/// rows of 128 (64, 32) bytes.
inline uint32_t swizzled(uint32_t address, Swizzle mode) {
  switch (mode) {
    case Swizzle::kNone: return address;
    case Swizzle::k32B: return address ^ (address >> 3 & 0x10);
    case Swizzle::k64B: return address ^ (address >> 3 & 0x30);
    case Swizzle::k128B: return address ^ (address >> 3 & 0x70);
  }
  return address;
}

/// Fills `map`; false where the driver's encoder would refuse.
bool encode_tensor_map(TensorMap* map, int rank, int element_bytes, void* base, const uint64_t* extents,
                       const uint64_t* strides, const uint32_t* box, Swizzle swizzle, bool fill_nan);

}  // namespace imago::cuda_on_cpu::emu
