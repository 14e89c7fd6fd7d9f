// Who else can convolve on a CPU, in float32: opponents that bench_kernels times beside our own backend.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "kernels/backend.h"

namespace imago {

enum class ConvolutionPass { kForward, kDgrad, kWgrad };

/// One pass of a convolution without bias or residual, all tensors NHWC and in one piece.
struct ConvolutionCase {
  ConvolutionPass pass = ConvolutionPass::kForward;
  Shape x, w, y;  // [N,H,W,C], [K,R,S,C], [N,Ho,Wo,K]
  Conv2dGeometry geometry;
};

/// The memory of a case: the pass reads two of the three and overwrites the third.
struct ConvolutionOperands {
  float *x, *w, *y;
};

class Opponent {
 public:
  virtual ~Opponent() = default;
  virtual void run() = 0;
};

using MakeOpponent = std::unique_ptr<Opponent> (*)(const ConvolutionCase&, const ConvolutionOperands&);

/// oneDNN's own convolution. Weights lie in the format that it likes best; putting them there, or a gradient
/// of theirs back, is not timed: it happens when the opponent is made, and when it ends. Null where this
/// build has no oneDNN.
MakeOpponent onednn_convolution();

/// The textbook's: im2col, image by image, and OpenBLAS's matrix product. Null where this build has no
/// OpenBLAS.
MakeOpponent openblas_convolution();

}  // namespace imago
