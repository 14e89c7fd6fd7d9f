// Convolutions by cuDNN 9 through its graph interface, as PyTorch calls it: a graph of one operation,
// the engines that the heuristics propose for it, and of these the fastest here. The library is opened
// at run time.
#pragma once

#include <memory>

#include "bench/cuda/opponent.h"

namespace imago {

class Cudnn {
 public:
  /// Throws a failure where there is no libcudnn.so.9, or no GPU for it.
  Cudnn();
  ~Cudnn();
  std::string version() const;  // "cuDNN 9.19.0"

  /// The fastest of the engines, on these tensors. Throws a failure where none takes the convolution.
  LibraryAlgorithm convolution(ConvPass pass, const ConvCase& c, const ConvPointers& pointers,
                               const LibraryWorkspace& workspace) const;

 private:
  struct Api;
  std::shared_ptr<const Api> api_;
};

}  // namespace imago
