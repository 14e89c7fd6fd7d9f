// Launchers whose kernels have not landed yet: each goes from here as its family arrives.
#include "kernels/cuda/attention.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

#define PENDING(name, ...)                              \
  void name(__VA_ARGS__) {                              \
    failure("the CUDA backend has no ", #name, " yet"); \
  }
using G = const Gpu&;
using In = ConstTensorRef;
using Out = TensorRef;

PENDING(attention, G, In, In, In, int, float, Out, Out, Workspace&)
PENDING(attention_backward, G, In, In, In, In, In, In, int, float, Out, Out, Out, Workspace&)

}  // namespace imago::IMAGO_CUDA_NAMESPACE
