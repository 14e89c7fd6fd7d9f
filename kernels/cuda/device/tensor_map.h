// Tensor maps: how TMA sees a tensor in global memory. Encoded by the driver.
#pragma once

#include <cuda.h>  // types only: the encoder is looked up at run time, so no program needs libcuda to start

#include <cstdint>

#include "kernels/cuda/device/launch.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

using TensorMap = CUtensorMap;

enum class TensorMapSwizzle { kNone = 0, k32B = 1, k64B = 2, k128B = 3 };

/// A packed or strided tensor of 2-byte (bfloat16) or 4-byte (float32) elements, up to 5
/// dimensions, innermost first.
struct TensorMapSpec {
  int rank = 0;
  int element_bytes = 2;
  uint64_t extents[5] = {};  // elements
  uint64_t strides[5] = {};  // bytes between neighbours in dimension i + 1, multiples of 16; 0: packed
  uint32_t box[5] = {};      // elements a copy moves, at most 256 in each dimension
  TensorMapSwizzle swizzle = TensorMapSwizzle::k128B;  // the box's rows must have exactly that many bytes
};

/// Pass the result to a kernel as `const __grid_constant__ TensorMap`. Throws when the hardware could
/// not use it.
inline TensorMap make_tensor_map(const void* base, const TensorMapSpec& spec,
                                 SourceLine where = SourceLine::current()) {
  uint64_t strides[5] = {};
  uint64_t packed = static_cast<uint64_t>(spec.element_bytes);
  for (int i = 0; i < spec.rank; ++i) {
    packed *= spec.extents[i];
    strides[i] = spec.strides[i] ? spec.strides[i] : packed;
  }
  TensorMap map{};
  using Encode = CUresult(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                          const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                          CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  static Encode* const encode = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    const cudaError_t e =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found);
    checked(e, "looking up cuTensorMapEncodeTiled");
    check(entry && found == cudaDriverEntryPointSuccess,
          "the CUDA driver has no cuTensorMapEncodeTiled: it is too old");
    return reinterpret_cast<Encode*>(entry);
  }();
  static_assert(sizeof(cuuint64_t) == sizeof(uint64_t) && sizeof(cuuint32_t) == sizeof(uint32_t));
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  const CUresult r = encode(
      &map, spec.element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
      static_cast<cuuint32_t>(spec.rank), const_cast<void*>(base),
      reinterpret_cast<const cuuint64_t*>(spec.extents), reinterpret_cast<const cuuint64_t*>(strides),
      spec.box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, static_cast<CUtensorMapSwizzle>(spec.swizzle),
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(r == CUDA_SUCCESS,
        "no tensor map fits this tensor: its base and strides must be multiples of 16 bytes, its box at most "
        "256 in each dimension and one swizzle span wide (",
        where.file, ":", where.line, ")");
  return map;
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
