// How operands of a matrix product reach shared memory: tiles of sixteen-byte chunks in a ring
// of four stages.
//
// An operand is a rule, not a matrix in memory: `const T* at(line, k)` says where element (line, k) lies, or
// null where it is zero (padding, tails). Whatever runs along k in memory is stored line by line (K-inner);
// whatever runs along the lines is stored k by k (K-outer). Within a tile the chunks of a row are permuted
// by an XOR with the row's number, so that the eight rows that one ldmatrix phase reads lie in eight
// different bank groups.
#pragma once

#include "kernels/cuda/convolution/gemm_tiling.h"
#include "kernels/cuda/device/ptx.h"
#include "kernels/cuda/device/vec.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

template <class T>
constexpr int kElems = kChunkBytes / sizeof(T);  // elements of a chunk: 8 bfloat16 or 4 float32
template <class T>
constexpr int kDepth = kChunksPerLine* kElems<T>;  // k's of a tile: 32 or 16

/// A tile of `lines` lines in shared memory, k contiguous: [lines][4 chunks].
template <class T, int kLines>
struct KInnerTile {
  static constexpr int kBytes = kLines * kChunksPerLine * kChunkBytes;
  /// Where the chunk of k's `chunk` of a line lies. Two lines share 128 bytes, all the banks; eight lines at
  /// the same chunk end up in eight different sixteenths of it.
  static __device__ __forceinline__ int offset(int line, int chunk) {
    return (line * kChunksPerLine + (chunk ^ ((line >> 1) & 3))) * kChunkBytes;
  }
};

/// The same tile with the lines contiguous: [k][lines / elements of a chunk].
template <class T, int kLines>
struct KOuterTile {
  static constexpr int kRow = kLines / kElems<T>;  // chunks of one k
  static_assert(kRow >= 8, "the swizzle permutes eight chunks");
  static constexpr int kBytes = kDepth<T> * kRow * kChunkBytes;
  static __device__ __forceinline__ int offset(int k, int chunk) {
    return (k * kRow + (chunk ^ (k & 7))) * kChunkBytes;
  }
};

/// Fetches the tiles of one operand. A thread always copies the same places of a tile, so that what belongs
/// to a line (its pixel's coordinates) is worked out once.
///   kVector: chunks are contiguous and aligned in memory: one cp.async each. Otherwise element by element.
template <class Operand, int kLines, int kThreads, bool kVector>
class TileLoader {
  using T = typename Operand::Element;
  using Line = typename Operand::Line;
  static constexpr bool kInner = Operand::kKInner;

 public:
  using Tile = std::conditional_t<kInner, KInnerTile<T, kLines>, KOuterTile<T, kLines>>;

  __device__ TileLoader(const Operand& operand, int first_line, int thread)
      : first_line_(first_line), thread_(thread) {
    if constexpr (kInner) {
#pragma unroll
      for (int i = 0; i < kPerThread; ++i)
        lines_[i] = operand.line(first_line + (thread + i * kThreads) / kChunksPerLine);
    } else if constexpr (kVector) {
      lines_[0] = operand.line(first_line + thread % kRow * kElems<T>);
    }
  }

  /// Starts copying the tile that begins at k.
  __device__ __forceinline__ void load(const Operand& operand, unsigned char* tile, int k) const {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int id = thread_ + i * kThreads;
      if (kChunks % kThreads != 0 && id >= kChunks) break;
      if constexpr (kInner) {
        const int line = id / kChunksPerLine, chunk = id % kChunksPerLine;
        copy_along_k(operand, lines_[i], tile + Tile::offset(line, chunk), k + chunk * kElems<T>);
      } else {
        const int row = id / kRow, chunk = id % kRow;
        copy_along_lines(operand, tile + Tile::offset(row, chunk), first_line_ + chunk * kElems<T>, k + row);
      }
    }
  }

 private:
  static constexpr int kChunks = kLines * kChunksPerLine;
  static constexpr int kPerThread = (kChunks + kThreads - 1) / kThreads;
  static constexpr int kRow = kInner ? kChunksPerLine : kLines / kElems<T>;
  static_assert(kThreads % kRow == 0, "a thread keeps its column");

  __device__ __forceinline__ void copy_along_k(const Operand& operand, const Line& line, unsigned char* to,
                                               int k) const {
    if constexpr (kVector)
      copy_chunk(operand, to, operand.at(line, k));
    else
      copy_elements(operand, to, [&](int e) { return operand.at(line, k + e); });
  }
  __device__ __forceinline__ void copy_along_lines(const Operand& operand, unsigned char* to, int line,
                                                   int k) const {
    if constexpr (kVector)
      copy_chunk(operand, to, operand.at(lines_[0], k));
    else
      copy_elements(operand, to, [&](int e) { return operand.at(operand.line(line + e), k); });
  }
  static __device__ __forceinline__ void copy_chunk(const Operand& operand, unsigned char* to,
                                                    const T* from) {
    ptx::cp_async<16>(to, from ? from : operand.anywhere(), from ? 16 : 0);  // 0: zeros are written
  }
  template <class Where>
  static __device__ __forceinline__ void copy_elements(const Operand& operand, unsigned char* to,
                                                       Where where) {
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int e = 0; e < kElems<T>; ++e) {
        const T* from = where(e);
        ptx::cp_async<4>(to + 4 * e, from ? from : operand.anywhere(), from ? 4 : 0);
      }
    } else {  // cp.async moves no less than four bytes: through registers
      uint32_t pairs[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) pairs[e] = bits(where(2 * e)) | bits(where(2 * e + 1)) << 16;
      *reinterpret_cast<uint4*>(to) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    }
  }
  static __device__ __forceinline__ uint32_t bits(const T* from) {
    return from ? *reinterpret_cast<const unsigned short*>(from) : 0u;
  }

  int first_line_, thread_;
  Line lines_[kInner ? kPerThread : 1];
};

}  // namespace imago::IMAGO_CUDA_NAMESPACE
