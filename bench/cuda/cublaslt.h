// Matrix products by cuBLASLt: the algorithms that its heuristics propose, and of these the fastest here. The
// library is opened at run time.
#pragma once

#include <memory>

#include "bench/cuda/opponent.h"

namespace imago {

class CublasLt {
 public:
  /// Throws a failure where there is no libcublasLt.so.13, or no GPU for it.
  CublasLt();
  ~CublasLt();
  std::string version() const;  // "cuBLASLt 13.1.0"

  /// A 1x1 convolution as a product of matrices, with M = N H W rows:
  ///   y [M,K] = x [M,C] w^T,   dx [M,C] = dy [M,K] w,   dw [K,C] = dy^T x.
  /// Throws a failure where no algorithm takes it.
  LibraryAlgorithm product(ConvPass pass, const ConvCase& c, const ConvPointers& pointers,
                           const LibraryWorkspace& workspace) const;

 private:
  struct Api;
  std::shared_ptr<const Api> api_;
};

}  // namespace imago
