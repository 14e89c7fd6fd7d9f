// The emulator's <cuda.h>: the driver's tensor maps. What cuTensorMapEncodeTiled would encode lies here
// in the clear.
#pragma once

#include <cstdint>

namespace imago::cuda_on_cpu {

using cuuint32_t = uint32_t;
using cuuint64_t = uint64_t;
enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
enum CUtensorMapDataType { CU_TENSOR_MAP_DATA_TYPE_FLOAT32 = 7, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9 };
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE };
enum CUtensorMapSwizzle : uint8_t {
  CU_TENSOR_MAP_SWIZZLE_NONE,
  CU_TENSOR_MAP_SWIZZLE_32B,
  CU_TENSOR_MAP_SWIZZLE_64B,
  CU_TENSOR_MAP_SWIZZLE_128B
};
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3 };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE };

namespace emu {

struct alignas(64) TensorMap {
  static constexpr uint32_t kMagic = 0x7e450;
  uint32_t magic = 0;
  uint8_t rank = 0, element_bytes = 0;
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;
  unsigned char* base = nullptr;
  uint64_t strides[4] = {};  // bytes, of dimensions 1..; dimension 0 is contiguous
  uint32_t extents[5] = {};
  uint16_t box[5] = {};
};
static_assert(sizeof(TensorMap) == 128);

/// The XOR that a swizzle mode applies to a shared memory address: 16-byte chunks move within rows of 128
/// (64, 32) bytes.
inline uint32_t swizzled(uint32_t address, CUtensorMapSwizzle mode) {
  switch (mode) {
    case CU_TENSOR_MAP_SWIZZLE_NONE: return address;
    case CU_TENSOR_MAP_SWIZZLE_32B: return address ^ (address >> 3 & 0x10);
    case CU_TENSOR_MAP_SWIZZLE_64B: return address ^ (address >> 3 & 0x30);
    case CU_TENSOR_MAP_SWIZZLE_128B: return address ^ (address >> 3 & 0x70);
  }
  return address;
}

}  // namespace emu

using CUtensorMap = emu::TensorMap;

/// Fills `map`, or answers CUDA_ERROR_INVALID_VALUE where the driver's encoder would. `strides` are those of
/// dimensions 1 and up.
CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base,
                                const cuuint64_t* extents, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* steps, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

}  // namespace imago::cuda_on_cpu
