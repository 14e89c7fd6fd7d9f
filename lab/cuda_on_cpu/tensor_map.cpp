// The one function of the driver that the project calls, and how it is looked up.
#include <cstring>

#include "lab/cuda_on_cpu/stream.h"
#include "lab/cuda_on_cpu/toolkit/cuda.h"

namespace imago::cuda_on_cpu {

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base,
                                const cuuint64_t* extents, const cuuint64_t* strides, const cuuint32_t* box,
                                const cuuint32_t* steps, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  constexpr CUresult kRefused = CUDA_ERROR_INVALID_VALUE;
  if (rank < 1 || rank > 5 || reinterpret_cast<uintptr_t>(base) % 16) return kRefused;
  CUtensorMap m;
  m.magic = CUtensorMap::kMagic;
  m.rank = static_cast<uint8_t>(rank), m.element_bytes = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 ? 2 : 4;
  m.swizzle = swizzle, m.base = static_cast<unsigned char*>(base);
  for (int i = 0; i < 5; ++i) m.extents[i] = 1, m.box[i] = 1;
  for (cuuint32_t i = 0; i < rank; ++i) {
    if (extents[i] == 0 || extents[i] > 0xffffffffull || box[i] == 0 || box[i] > 256) return kRefused;
    if (steps[i] != 1) return kRefused;  // the emulator's copies take neighbours only
    m.extents[i] = static_cast<uint32_t>(extents[i]), m.box[i] = static_cast<uint16_t>(box[i]);
    if (i + 1 < rank) {
      if (strides[i] % 16 || strides[i] >= (1ull << 40)) return kRefused;
      m.strides[i] = strides[i];
    }
  }
  const uint32_t inner = box[0] * m.element_bytes;  // bytes
  const uint32_t span = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? ~0u : 16u << static_cast<int>(swizzle);
  if (inner % 16 || inner > span) return kRefused;
  *map = m;
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long, cudaDriverEntryPointQueryResult* found) {
  const bool known = std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(cuTensorMapEncodeTiled) : nullptr;
  if (found) *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

}  // namespace imago::cuda_on_cpu
