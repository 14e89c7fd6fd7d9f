#include "engine/ops/group_norm.h"

#include "engine/autograd/continued_sums.h"
#include "engine/tensor/allocator.h"

namespace imago {

Tensor group_norm(const Tensor& x_in, const Tensor& skip_in, const Parameter& gamma, const Parameter& beta,
                  const Tensor& scale_shift_in, const GroupNormConfig& config) {
  const int64_t channels = x_in.dim(-1) + (skip_in ? skip_in.dim(-1) : 0);
  check(channels % config.groups == 0 && gamma.shape == Shape{channels}, "group_norm: ", channels,
        " channels in ", config.groups, " groups, gamma ", gamma.shape);
  check(!scale_shift_in || scale_shift_in.shape() == Shape{x_in.dim(0), 2 * channels},
        "group_norm: scale_shift must be [N,2C]");
  Shape out;
  for (int i = 0; i + 1 < x_in.shape().rank(); ++i) out.push_back(x_in.dim(i));
  out.push_back(channels);
  Tensor y = empty(out, x_in.dtype(), x_in.device());
  Tensor statistics = empty({x_in.dim(0), config.groups, 2}, gamma.value.dtype(), x_in.device());  // [N,G,2]
  {
    ScratchSpace scratch(x_in.device());
    backend_of(x_in).group_norm({x_in, skip_in}, gamma.value, beta.value, scale_shift_in, config, y,
                                statistics, scratch);
  }
  const bool want_x = x_in.requires_grad() || skip_in.requires_grad();
  const auto detached = [](const Tensor& t) { return t ? t.detach() : t; };
  return record("group_norm", y, {x_in, skip_in, gamma.value, beta.value, scale_shift_in},
                [=, x = detached(x_in), skip = detached(skip_in), scale_shift = detached(scale_shift_in),
                 want_scale_shift = scale_shift_in.requires_grad(), gamma = gamma.value.detach(),
                 beta = beta.value.detach(), dgamma = gamma.value.grad(),
                 dbeta = beta.value.grad()](const Tensor& dy, Gradients& so_far) {
                  const Tensor sum = std::move(so_far[0]), skip_sum = std::move(so_far[1]);
                  Tensor dx = empty_like(x), dskip = skip ? empty_like(skip) : skip;
                  Tensor dscale_shift = want_scale_shift ? empty_like(scale_shift) : Tensor();
                  ScratchSpace scratch(dy.device());
                  backend_of(dy).group_norm_backward(dy, {x, skip}, gamma, beta, scale_shift, statistics,
                                                     config, {sum, skip_sum}, {dx, dskip}, dgamma, dbeta,
                                                     dscale_shift, scratch);
                  if (!want_x) return Gradients{{}, {}, {}, {}, dscale_shift};
                  return Gradients{dx, dskip, {}, {}, dscale_shift};
                });
}

}  // namespace imago
