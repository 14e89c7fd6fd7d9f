// Times every operation of the CPU backend at the shapes of one training step: the 6.80 M parameter U-Net of
// 32x32 colour images, channels 64, 128, 128, batch 16, attention at 16x16 and 8x8.
//
//   bench_kernels --benchmark_filter=conv2d --benchmark_repetitions=5
//
// FLOP/s counts a multiply-add as two, bytes/s every operand once. per_step says how often the U-Net's
// training step runs the operation at this shape. OMP_NUM_THREADS sets the threads.
#include <benchmark/benchmark.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "apps/common/idle_threads.h"
#include "kernels/backend.h"

namespace imago {
namespace {

constexpr int64_t kBatch = 16;

class BenchWorkspace : public Workspace {
 public:
  ~BenchWorkspace() override { cpu_backend().deallocate(memory_, size_); }
  void* get(size_t bytes) override {
    if (bytes > size_) {
      cpu_backend().deallocate(memory_, size_);
      memory_ = cpu_backend().allocate(size_ = bytes);
    }
    return memory_;
  }

 private:
  void* memory_ = nullptr;
  size_t size_ = 0;
};

/// The tensors of one benchmark, filled with N(0,1) numbers.
class Operands {
 public:
  ~Operands() {
    for (const TensorRef& t : tensors_) cpu_backend().deallocate(t.data, t.bytes());
  }
  TensorRef make(const Shape& shape, DType type) {
    TensorRef t(nullptr, type, shape);
    t.data = cpu_backend().allocate(t.bytes());
    check(t.data, "bench_kernels: not enough memory");
    tensors_.push_back(t);
    bytes_ += static_cast<double>(t.bytes());
    const int64_t id = static_cast<int64_t>(tensors_.size());
    const RandomKey key{1, 0, ConstTensorRef(&id, DType::kInt64, {1})};
    cpu_backend().normal(key, TensorRef(t.data, type, {1, t.numel()}));
    return t;
  }
  double bytes() const { return bytes_; }

 private:
  std::vector<TensorRef> tensors_;
  double bytes_ = 0;
};

using Call = std::function<void(Backend&, Workspace&)>;

/// Registers a benchmark; `prepare` makes the operands and returns the call.
void add(const std::string& name, double per_step, double flops, std::function<Call(Operands&)> prepare) {
  benchmark::RegisterBenchmark(
      name.c_str(),
      [=](benchmark::State& state) {
        Operands operands;
        BenchWorkspace workspace;
        const Call call = prepare(operands);
        call(cpu_backend(), workspace);  // builds primitives, touches memory
        for (auto _ : state) call(cpu_backend(), workspace);
        using benchmark::Counter;
        if (flops > 0) state.counters["FLOP/s"] = Counter(flops, Counter::kIsIterationInvariantRate);
        state.counters["bytes/s"] = Counter(operands.bytes(), Counter::kIsIterationInvariantRate);
        state.counters["per_step"] = per_step;
      })
      ->Unit(benchmark::kMillisecond)
      ->MeasureProcessCPUTime()
      ->UseRealTime();
}

std::string pixels(int64_t size) {
  return std::to_string(size) + "x" + std::to_string(size);
}

struct ConvCase {
  int64_t size, ca, cb, k;
  int filter, stride;
  double count;
};

void add_conv(const ConvCase& c, DType type) {
  const Conv2dGeometry g{c.stride, c.filter / 2, c.filter / 2, c.filter / 2, c.filter / 2};
  const int64_t out = g.out_height(c.size, c.filter), channels = c.ca + c.cb;
  const double flops = 2.0 * static_cast<double>(kBatch * out * out * c.k * channels * c.filter * c.filter);
  const std::string shape = std::string("/") + name_of(type) + "/" + pixels(c.size) + "/" +
                            std::to_string(c.ca) + (c.cb ? "+" + std::to_string(c.cb) : "") + "-" +
                            std::to_string(c.k) + "/filter" + std::to_string(c.filter) +
                            (c.stride > 1 ? "/stride2" : "");
  auto source = [=](Operands& o, int64_t n) {
    return n ? o.make({kBatch, c.size, c.size, n}, type) : TensorRef();
  };
  const Shape weights{c.k, c.filter, c.filter, channels}, result{kBatch, out, out, c.k};
  add("conv2d" + shape, c.count, flops, [=](Operands& o) -> Call {
    const TensorRef a = source(o, c.ca), b = source(o, c.cb), w = o.make(weights, type),
                    y = o.make(result, type);
    const TensorRef bias = o.make({c.k}, DType::kFloat32);
    return [=](Backend& backend, Workspace& ws) { backend.conv2d({a, b}, w, g, {bias, {}, {}, 1}, y, ws); };
  });
  add("conv2d_dgrad" + shape, c.ca == 3 ? 0 : c.count, flops, [=](Operands& o) -> Call {
    const TensorRef a = source(o, c.ca), b = source(o, c.cb), w = o.make(weights, type),
                    dy = o.make(result, type);
    return [=](Backend& backend, Workspace& ws) { backend.conv2d_dgrad(dy, w, g, 1, {}, {a, b}, ws); };
  });
  add("conv2d_wgrad" + shape, c.count, flops, [=](Operands& o) -> Call {
    const TensorRef a = source(o, c.ca), b = source(o, c.cb), dy = o.make(result, type);
    const TensorRef dw = o.make(weights, DType::kFloat32), dbias = o.make({c.k}, DType::kFloat32);
    return [=](Backend& backend, Workspace& ws) { backend.conv2d_wgrad({a, b}, dy, g, 1, dw, dbias, ws); };
  });
  if (c.filter == 3) {
    add("per_image_bias_grad" + shape, 0, 0, [=](Operands& o) -> Call {
      const TensorRef dy = o.make(result, type), dper_image = o.make({kBatch, c.k}, type);
      return [=](Backend& backend, Workspace& ws) { backend.per_image_bias_grad(dy, 1, dper_image, ws); };
    });
  }
}

void add_group_norm(int64_t size, int64_t ca, int64_t cb, bool silu, double count, DType type) {
  const GroupNormConfig config{32, 1e-5f, silu ? Activation::kSilu : Activation::kNone};
  const std::string shape = std::string("/") + name_of(type) + "/" + pixels(size) + "/" + std::to_string(ca) +
                            (cb ? "+" + std::to_string(cb) : "") + (silu ? "/silu" : "");
  struct Tensors {
    TensorRef a, b, gamma, beta, y, statistics;
  };
  auto make = [=](Operands& o) {
    auto source = [&](int64_t n) { return n ? o.make({kBatch, size, size, n}, type) : TensorRef(); };
    return Tensors{source(ca),
                   source(cb),
                   o.make({ca + cb}, DType::kFloat32),
                   o.make({ca + cb}, DType::kFloat32),
                   source(ca + cb),
                   o.make({kBatch, 32, 2}, DType::kFloat32)};
  };
  add("group_norm" + shape, count, 0, [=](Operands& o) -> Call {
    const Tensors t = make(o);
    return [=](Backend& backend, Workspace& ws) {
      backend.group_norm({t.a, t.b}, t.gamma, t.beta, {}, config, t.y, t.statistics, ws);
    };
  });
  add("group_norm_backward" + shape, count, 0, [=](Operands& o) -> Call {
    const Tensors t = make(o), d = make(o);
    return [=](Backend& backend, Workspace& ws) {
      backend.group_norm_backward(t.y, {t.a, t.b}, t.gamma, t.beta, {}, t.statistics, config, {}, {d.a, d.b},
                                  d.gamma, d.beta, {}, ws);
    };
  });
}

void add_attention(int64_t size, int64_t head_dim, double count, DType type) {
  const int64_t tokens = size * size, width = 128, heads = width / head_dim;
  const float scale = 1 / std::sqrt(static_cast<float>(head_dim));
  const double product = 2.0 * static_cast<double>(kBatch * heads * tokens * tokens * head_dim);
  const std::string shape =
      std::string("/") + name_of(type) + "/" + pixels(size) + "/head_dim" + std::to_string(head_dim);
  const Shape x{kBatch, tokens, width}, rows{kBatch, heads, tokens};
  add("attention" + shape, count, 2 * product, [=](Operands& o) -> Call {
    const TensorRef q = o.make(x, type), k = o.make(x, type), v = o.make(x, type), y = o.make(x, type);
    const TensorRef lse = o.make(rows, DType::kFloat32);
    return
        [=](Backend& b, Workspace& ws) { b.attention(q, k, v, static_cast<int>(heads), scale, y, lse, ws); };
  });
  add("attention_backward" + shape, count, 5 * product, [=](Operands& o) -> Call {
    const TensorRef q = o.make(x, type), k = o.make(x, type), v = o.make(x, type), y = o.make(x, type);
    const TensorRef dy = o.make(x, type), dq = o.make(x, type), dk = o.make(x, type), dv = o.make(x, type);
    const TensorRef lse = o.make(rows, DType::kFloat32);
    BenchWorkspace ws;
    cpu_backend().attention(q, k, v, static_cast<int>(heads), scale, y, lse, ws);
    return [=](Backend& b, Workspace& w) {
      b.attention_backward(dy, q, k, v, y, lse, static_cast<int>(heads), scale, dq, dk, dv, w);
    };
  });
}

void add_elementwise(DType type) {
  const std::string t = std::string("/") + name_of(type);
  const Shape x{kBatch, 32, 32, 64}, twice{kBatch, 64, 64, 64};
  auto unary = [=](const std::string& name, void (*call)(Backend&, ConstTensorRef, TensorRef)) {
    add(name + t + "/32x32/64", 0, 0, [=](Operands& o) -> Call {
      const TensorRef a = o.make(x, type), y = o.make(x, type);
      return [=](Backend& b, Workspace&) { call(b, a, y); };
    });
  };
  unary("silu", [](Backend& b, ConstTensorRef a, TensorRef y) { b.silu(a, y); });
  unary("silu_backward", [](Backend& b, ConstTensorRef a, TensorRef y) { b.silu_backward(a, a, y); });
  unary("add", [](Backend& b, ConstTensorRef a, TensorRef y) { b.add(a, 1, y, 1, y); });
  unary("dropout", [](Backend& b, ConstTensorRef a, TensorRef y) {
    static const std::vector<int64_t> ids(kBatch, 7);
    b.dropout(a, 0.1f, {1, 2, ConstTensorRef(ids.data(), DType::kInt64, {kBatch})}, y);
  });
  unary("normal", [](Backend& b, ConstTensorRef, TensorRef y) {
    static const std::vector<int64_t> ids(kBatch, 7);
    b.normal({1, 2, ConstTensorRef(ids.data(), DType::kInt64, {kBatch})}, y);
  });
  add("upsample2x" + t + "/32x32/64", 0, 0, [=](Operands& o) -> Call {
    const TensorRef a = o.make(x, type), y = o.make(twice, type);
    return [=](Backend& b, Workspace&) { b.upsample2x(a, 1, y); };
  });
  add("sum_pool2x" + t + "/32x32/64", 0, 0, [=](Operands& o) -> Call {
    const TensorRef a = o.make(twice, type), y = o.make(x, type);
    return [=](Backend& b, Workspace&) { b.sum_pool2x(a, 1, y); };
  });
}

void add_optimizer() {
  const Shape parameters{6803715};
  const DType f32 = DType::kFloat32;
  add("norm/float32/6.8M", 1, 0, [=](Operands& o) -> Call {
    const TensorRef g = o.make(parameters, f32), y = o.make({1}, f32);
    return [=](Backend& b, Workspace& ws) { b.norm(g, y, ws); };
  });
  for (bool ema : {false, true}) {
    add(std::string("adamw/float32/6.8M") + (ema ? "/ema" : ""), 1, 0, [=](Operands& o) -> Call {
      const TensorRef g = o.make(parameters, f32), p = o.make(parameters, f32), m = o.make(parameters, f32);
      const TensorRef v = o.make(parameters, f32), e = ema ? o.make(parameters, f32) : TensorRef();
      const TensorRef norm = o.make({1}, f32);
      cpu_backend().fill(v, 1);  // a square is not negative
      return [=](Backend& b, Workspace&) {
        const AdamWStep step{1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 0.5f, 0.5f, 1, 0.999f};
        b.adamw(g, norm, ConstTensorRef(&step, DType::kUInt8, {sizeof step}), p, m, v, e, {});
      };
    });
  }
}

void add_all(DType type) {
  const ConvCase convolutions[] = {
      {32, 3, 0, 64, 3, 1, 1},      {32, 64, 0, 64, 3, 1, 7},     {32, 64, 0, 64, 3, 2, 1},
      {16, 64, 0, 128, 3, 1, 1},    {16, 64, 0, 128, 1, 1, 1},    {16, 128, 0, 128, 3, 1, 7},
      {16, 128, 0, 128, 1, 1, 20},  {16, 128, 0, 128, 3, 2, 1},   {8, 128, 0, 128, 3, 1, 11},
      {8, 128, 0, 128, 1, 1, 24},   {8, 128, 128, 128, 3, 1, 3},  {8, 128, 128, 128, 1, 1, 3},
      {16, 128, 128, 128, 3, 1, 2}, {16, 128, 128, 128, 1, 1, 2}, {16, 128, 64, 128, 3, 1, 1},
      {16, 128, 64, 128, 1, 1, 1},  {32, 128, 0, 128, 3, 1, 1},   {32, 128, 64, 64, 3, 1, 1},
      {32, 128, 64, 64, 1, 1, 1},   {32, 64, 64, 64, 3, 1, 2},    {32, 64, 64, 64, 1, 1, 2},
      {32, 64, 0, 3, 3, 1, 1}};
  for (const ConvCase& c : convolutions) add_conv(c, type);
  struct {
    int64_t size, a, b;
    bool silu;
    double count;
  } const norms[] = {{32, 64, 0, true, 8},   {16, 64, 0, true, 1},    {16, 128, 0, true, 6},
                     {16, 128, 0, false, 5}, {8, 128, 0, true, 11},   {8, 128, 0, false, 6},
                     {8, 128, 128, true, 3}, {16, 128, 128, true, 2}, {16, 128, 64, true, 1},
                     {32, 128, 64, true, 1}, {32, 64, 64, true, 2}};
  for (const auto& n : norms) add_group_norm(n.size, n.a, n.b, n.silu, n.count, type);
  for (int64_t head_dim : {8, 128}) {
    add_attention(16, head_dim, 5, type);
    add_attention(8, head_dim, 6, type);
  }
  add_elementwise(type);
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  imago::keep_idle_threads_asleep();
  imago::add_all(imago::DType::kFloat32);
  imago::add_all(imago::DType::kBFloat16);
  imago::add_optimizer();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
