#include "bench/operation_call.h"

#include <cmath>
#include <map>
#include <string>

namespace imago {

Operands::~Operands() {
  for (const TensorRef& t : tensors_) cpu_backend().deallocate(t.data, t.bytes());
}

TensorRef Operands::make(const Shape& shape, DType type) {
  TensorRef t(nullptr, type, shape);
  t.data = cpu_backend().allocate(t.bytes());
  check(t.data, "not enough memory for ", shape);
  tensors_.push_back(t);
  const int64_t id = static_cast<int64_t>(tensors_.size());
  const RandomKey key{1, 0, ConstTensorRef(&id, DType::kInt64, {1})};
  cpu_backend().normal(key, TensorRef(t.data, type, {1, t.numel()}));
  return t;
}

BenchWorkspace::~BenchWorkspace() {
  cpu_backend().deallocate(memory_, size_);
}

void* BenchWorkspace::get(size_t bytes) {
  if (bytes > size_) {
    cpu_backend().deallocate(memory_, size_);
    memory_ = cpu_backend().allocate(size_ = bytes);
  }
  return memory_;
}

namespace {

/// What a call holds on to.
struct Held {
  Backend& backend;
  Operands operands;
  BenchWorkspace workspace;
};
using Call = std::function<void(Held&)>;

ConcatOut like(Operands& o, const Concat& x) {
  return {o.like(x.a), o.like(x.b)};
}
Concat readable(const ConcatOut& x) {
  return {x.a, x.b};
}

Call conv2d(const Operation& op, Operands& o) {
  const Concat x = readable(like(o, op.x));
  const ConstTensorRef w = o.like(op.w);
  const Conv2dEpilogue e{o.like(op.epilogue.bias), o.like(op.epilogue.per_image_bias),
                         o.like(op.epilogue.residual), op.epilogue.scale};
  const TensorRef y = o.like(op.y);
  return [=, g = op.geometry](Held& h) { h.backend.conv2d(x, w, g, e, y, h.workspace); };
}

Call conv2d_dgrad(const Operation& op, Operands& o) {
  const ConstTensorRef dy = o.like(op.y), w = o.like(op.w);
  const Concat so_far = readable(like(o, op.so_far));
  const ConcatOut dx = like(o, op.x);
  return [=, g = op.geometry](Held& h) { h.backend.conv2d_dgrad(dy, w, g, 1, so_far, dx, h.workspace); };
}

Call conv2d_wgrad(const Operation& op, Operands& o) {
  const Concat x = readable(like(o, op.x));
  const ConstTensorRef dy = o.like(op.y);
  const TensorRef dw = o.like(op.w), dbias = op.dbias ? o.make({op.w.shape[0]}, op.w.dtype) : TensorRef();
  return [=, g = op.geometry](Held& h) { h.backend.conv2d_wgrad(x, dy, g, 1, dw, dbias, h.workspace); };
}

Call per_image_bias_grad(const Operation& op, Operands& o) {
  const ConstTensorRef dy = o.like(op.x.a);
  const TensorRef result = o.make({dy.shape[0], dy.shape[-1]}, dy.dtype);
  return [=](Held& h) { h.backend.per_image_bias_grad(dy, 1, result, h.workspace); };
}

/// The vectors of a GroupNorm over x.
struct NormOperands {
  TensorRef gamma, beta, scale_shift, statistics;

  NormOperands(const Operation& op, Operands& o) {
    const int64_t n = op.x.a.shape[0], channels = op.x.channels();
    gamma = o.make({channels}, DType::kFloat32);
    beta = o.make({channels}, DType::kFloat32);
    if (op.scale_shift) scale_shift = o.make({n, 2 * channels}, op.x.a.dtype);
    statistics = o.make({n, op.norm.groups, 2}, DType::kFloat32);
  }
};

Call group_norm(const Operation& op, Operands& o) {
  const Concat x = readable(like(o, op.x));
  const NormOperands v(op, o);
  const TensorRef y = o.like(op.y);
  return [=, c = op.norm](Held& h) {
    h.backend.group_norm(x, v.gamma, v.beta, v.scale_shift, c, y, v.statistics, h.workspace);
  };
}

Call group_norm_backward(const Operation& op, Operands& o) {
  const Concat x = readable(like(o, op.x)), so_far = readable(like(o, op.so_far));
  const NormOperands v(op, o), d(op, o);
  const ConstTensorRef dy = o.like(op.y);
  const ConcatOut dx = like(o, op.x);
  return [=, c = op.norm](Held& h) {
    h.backend.group_norm_backward(dy, x, v.gamma, v.beta, v.scale_shift, v.statistics, c, so_far, dx, d.gamma,
                                  d.beta, d.scale_shift, h.workspace);
  };
}

/// q, k, v, y and what else attention reads or writes. q [N,T,heads*D].
struct AttentionOperands {
  TensorRef q, k, v, y, lse;
  int heads;
  float scale;

  AttentionOperands(const Operation& op, Operands& o) : heads(op.heads) {
    const Shape shape = op.x.a.shape;
    for (TensorRef* t : {&q, &k, &v, &y}) *t = o.like(op.x.a);
    lse = o.make({shape[0], heads, shape[1]}, DType::kFloat32);
    scale = 1 / std::sqrt(static_cast<float>(shape[2] / heads));
  }
  void run(Backend& backend, Workspace& ws) const { backend.attention(q, k, v, heads, scale, y, lse, ws); }
};

Call attention(const Operation& op, Operands& o) {
  return [a = AttentionOperands(op, o)](Held& h) { a.run(h.backend, h.workspace); };
}

Call attention_backward(const Operation& op, Operands& o) {
  const AttentionOperands a(op, o);
  BenchWorkspace workspace;
  a.run(cpu_backend(), workspace);  // y and lse have to fit q, k, v
  const ConstTensorRef dy = o.like(op.y);
  const TensorRef dq = o.like(op.x.a), dk = o.like(op.x.a), dv = o.like(op.x.a);
  return [=](Held& h) {
    h.backend.attention_backward(dy, a.q, a.k, a.v, a.y, a.lse, a.heads, a.scale, dq, dk, dv, h.workspace);
  };
}

Call silu(const Operation& op, Operands& o) {
  const TensorRef x = o.like(op.x.a), y = o.like(op.x.a);
  return [=](Held& h) { h.backend.silu(x, y); };
}

Call silu_backward(const Operation& op, Operands& o) {
  const TensorRef x = o.like(op.x.a), dy = o.like(op.x.a), dx = o.like(op.x.a);
  return [=](Held& h) { h.backend.silu_backward(dy, x, dx); };
}

Call add(const Operation& op, Operands& o) {
  const TensorRef a = o.like(op.x.a), b = o.like(op.x.a);
  return [=](Held& h) { h.backend.add(a, 1, b, 1, a); };
}

Call upsample2x(const Operation& op, Operands& o) {
  const TensorRef x = o.like(op.x.a),
                  y = o.make({x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3]}, x.dtype);
  return [=](Held& h) { h.backend.upsample2x(x, 1, y); };
}

Call sum_pool2x(const Operation& op, Operands& o) {
  const TensorRef x = o.like(op.x.a),
                  y = o.make({x.shape[0], x.shape[1] / 2, x.shape[2] / 2, x.shape[3]}, x.dtype);
  return [=](Held& h) { h.backend.sum_pool2x(x, 1, y); };
}

Call norm(const Operation& op, Operands& o) {
  const TensorRef g = o.like(op.x.a), y = o.make({1}, DType::kFloat32);
  return [=](Held& h) { h.backend.norm(g, y, h.workspace); };
}

Call adamw(const Operation& op, Operands& o) {
  const TensorRef g = o.like(op.x.a), p = o.like(op.x.a), m = o.like(op.x.a), v = o.like(op.x.a);
  const TensorRef grad_norm = o.make({1}, DType::kFloat32);
  cpu_backend().fill(v, 1);  // a mean of squares is not negative
  return [=](Held& h) {
    const AdamWStep step{1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 0.5f, 0.5f, 1, 0.999f};
    h.backend.adamw(g, grad_norm, ConstTensorRef(&step, DType::kUInt8, {sizeof step}), p, m, v, {}, {});
  };
}

/// By the name of the operation.
const std::map<std::string, Call (*)(const Operation&, Operands&)> kCalls{
    {"conv2d", conv2d},
    {"conv2d_dgrad", conv2d_dgrad},
    {"conv2d_wgrad", conv2d_wgrad},
    {"per_image_bias_grad", per_image_bias_grad},
    {"group_norm", group_norm},
    {"group_norm_backward", group_norm_backward},
    {"attention", attention},
    {"attention_backward", attention_backward},
    {"silu", silu},
    {"silu_backward", silu_backward},
    {"add", add},
    {"upsample2x", upsample2x},
    {"sum_pool2x", sum_pool2x},
    {"norm", norm},
    {"adamw", adamw}};

}  // namespace

bool has_call(const Operation& operation) {
  return kCalls.contains(operation.name);
}

std::function<void()> prepare_call(const Operation& operation, Backend& backend) {
  const auto held = std::make_shared<Held>(backend);
  const Call call = kCalls.at(operation.name)(operation, held->operands);
  return [held, call] { call(*held); };
}

}  // namespace imago
