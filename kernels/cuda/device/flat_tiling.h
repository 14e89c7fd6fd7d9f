// How kernels that pass over memory once share it out: elementwise operations and the optimizer.
#pragma once

namespace imago::tiling {

constexpr int kFlatThreads = 256;
constexpr int kFlatElements = 8;    // of a thread: sixteen bytes or more an access
constexpr int kUpdateElements = 4;  // of a thread in adamw: more would spill registers
constexpr int kEmbeddingThreads = 128;
constexpr int kNormPieces = 1024;  // blocks of the gradient norm: a few waves on any GPU

}  // namespace imago::tiling
