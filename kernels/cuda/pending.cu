// Launchers whose kernels have not landed yet: each goes from here as its family arrives.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/diffusion.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/embedding.h"
#include "kernels/cuda/group_norm.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/resample.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

#define PENDING(name, ...)                              \
  void name(__VA_ARGS__) {                              \
    failure("the CUDA backend has no ", #name, " yet"); \
  }
using G = const Gpu&;
using In = ConstTensorRef;
using Out = TensorRef;

PENDING(fill, G, Out, double)
PENDING(copy, G, In, Out)
PENDING(add, G, In, float, In, float, Out)
PENDING(silu, G, In, Out)
PENDING(silu_backward, G, In, In, Out)
PENDING(dropout, G, In, float, const RandomKey&, Out)
PENDING(group_norm, G, const Concat&, In, In, In, const GroupNormConfig&, Out, Out, Workspace&)
PENDING(group_norm_backward, G, In, const Concat&, In, In, In, In, const GroupNormConfig&, const ConcatOut&,
        Out, Out, Out, Workspace&)
PENDING(attention, G, In, In, In, int, float, Out, Out, Workspace&)
PENDING(attention_backward, G, In, In, In, In, In, In, int, float, Out, Out, Out, Workspace&)
PENDING(upsample2x, G, In, float, Out)
PENDING(sum_pool2x, G, In, float, Out)
PENDING(sinusoid, G, In, In, bool, Out)
PENDING(embedding, G, In, In, Out)
PENDING(embedding_backward, G, In, In, Out)
PENDING(normal, G, const RandomKey&, Out)
PENDING(q_sample, G, In, In, const RandomKey&, Out, Out)
PENDING(mse_loss, G, In, In, In, Out)
PENDING(mse_loss_backward, G, In, In, In, In, Out)
PENDING(sampler_step, G, In, In, const SamplerStep&, const RandomKey&, Out)
PENDING(norm, G, In, Out, Workspace&)
PENDING(adamw, G, In, In, In, Out, Out, Out, Out, Out)

}  // namespace imago::IMAGO_CUDA_NAMESPACE
