// Times the operations of a U-Net's training step on the CPU, each kind once and by itself, beside what this
// machine can do at most; convolutions in float32 beside oneDNN used directly and OpenBLAS behind im2col.
//
//   bench_kernels --config bench/configs/butterflies_32.json --batch 8
//   bench_kernels --benchmark_filter=conv2d/ --benchmark_repetitions=5
//
// Every row says how often a step runs the operation (per_step). FLOP/s counts a multiply-add as two and a
// convolution as a direct one, bytes/s every operand once. limit/fma and limit/copy are the machine's own. An
// opponent's row is named like ours, with "/onednn" or "/openblas" behind it: the bare convolution, where
// ours has its bias and residual as in the step. OMP_NUM_THREADS sets the threads.
#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>

#include "apps/common/run_app.h"
#include "bench/cpu/opponent.h"
#include "bench/machine_limits.h"
#include "bench/operation_call.h"
#include "bench/step_operations.h"
#include "bench/step_options.h"

namespace imago {
namespace {

using benchmark::Counter;

void set_rates(benchmark::State& state, double flops, double bytes, int per_step) {
  if (flops > 0) state.counters["FLOP/s"] = Counter(flops, Counter::kIsIterationInvariantRate);
  if (bytes > 0) state.counters["bytes/s"] = Counter(bytes, Counter::kIsIterationInvariantRate);
  if (per_step > 0) state.counters["per_step"] = per_step;
}

void configure(benchmark::internal::Benchmark* b) {
  b->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime();
}

void add_limits() {
  configure(benchmark::RegisterBenchmark("limit/fma", [](benchmark::State& state) {
    FmaLoop loop;
    for (auto _ : state) loop.run();
    set_rates(state, loop.flops(), 0, 0);
  }));
  configure(benchmark::RegisterBenchmark("limit/copy", [](benchmark::State& state) {
    CopyLoop loop;
    loop.run();  // touches the memory
    for (auto _ : state) loop.run();
    set_rates(state, 0, loop.bytes(), 0);
  }));
}

std::optional<ConvolutionCase> convolution_of(const Operation& o) {
  const std::string name = o.name;
  if (!name.starts_with("conv2d") || o.w.dtype != DType::kFloat32 || o.x.a.dtype != DType::kFloat32)
    return {};
  Shape x = o.x.a.shape;
  if (x.rank() != 4) return {};
  const Shape whole{x[0], x[1], x[2], o.x.channels()};
  const auto pass = name == "conv2d"         ? ConvolutionPass::kForward
                    : name == "conv2d_dgrad" ? ConvolutionPass::kDgrad
                                             : ConvolutionPass::kWgrad;
  return ConvolutionCase{pass, whole, o.w.shape, o.y.shape, o.geometry};
}

/// Our own result of the bare convolution, to hold an opponent's against. Returns what it leaves in the
/// tensor that the pass writes.
std::vector<float> our_result(const ConvolutionCase& c, const TensorRef& x, const TensorRef& w,
                              const TensorRef& y) {
  BenchWorkspace ws;
  Backend& ours = cpu_backend();
  const bool forward = c.pass == ConvolutionPass::kForward, dgrad = c.pass == ConvolutionPass::kDgrad;
  const TensorRef& result = forward ? y : dgrad ? x : w;
  if (forward) ours.conv2d({x}, w, c.geometry, {}, y, ws);
  if (dgrad) ours.conv2d_dgrad(y, w, c.geometry, 1, {}, {x}, ws);
  if (c.pass == ConvolutionPass::kWgrad) {
    ours.fill(w, 0);
    ours.conv2d_wgrad({x}, y, c.geometry, 1, w, {}, ws);
  }
  const float* p = result.as<float>();
  return {p, p + result.numel()};
}

/// The largest difference by the largest value.
double difference(const std::vector<float>& a, const float* b) {
  double most = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
    scale = std::max(scale, std::abs(static_cast<double>(a[i])));
  }
  return most / scale;
}

void run_opponent(benchmark::State& state, const ConvolutionCase& c, MakeOpponent make,
                  const StepOperation& op) {
  Operands operands;
  const TensorRef x = operands.make(c.x, DType::kFloat32), w = operands.make(c.w, DType::kFloat32),
                  y = operands.make(c.y, DType::kFloat32);
  const std::vector<float> ours = our_result(c, x, w, y);
  const TensorRef& result = c.pass == ConvolutionPass::kForward ? y
                            : c.pass == ConvolutionPass::kDgrad ? x
                                                                : w;
  cpu_backend().fill(result, NAN);
  std::unique_ptr<Opponent> opponent = make(c, {x.as<float>(), w.as<float>(), y.as<float>()});
  opponent->run();
  for (auto _ : state) opponent->run();
  opponent.reset();  // lays a gradient of weights where it belongs
  const double off = difference(ours, result.as<float>());
  if (!(off < 1e-3)) state.SkipWithError("gives another result than ours");
  set_rates(state, static_cast<double>(op.flops), 0, op.calls);
}

void add_operation(const StepOperation& op) {
  if (!has_call(op.operation)) return;
  configure(benchmark::RegisterBenchmark(op.name().c_str(), [op](benchmark::State& state) {
    const std::function<void()> call = prepare_call(op.operation);
    call();  // builds primitives, touches memory
    for (auto _ : state) call();
    set_rates(state, static_cast<double>(op.flops), static_cast<double>(op.bytes), op.calls);
  }));
  const std::optional<ConvolutionCase> c = convolution_of(op.operation);
  if (!c) return;
  const std::pair<const char*, MakeOpponent> opponents[] = {{"/onednn", onednn_convolution()},
                                                            {"/openblas", openblas_convolution()}};
  for (const auto& [suffix, make] : opponents) {
    if (!make) continue;
    configure(benchmark::RegisterBenchmark(
        (op.name() + suffix).c_str(),
        [op, c = *c, make = make](benchmark::State& state) { run_opponent(state, c, make, op); }));
  }
}

StepOptions parse(int argc, char** argv) {
  StepOptions o;
  CLI::App app(
      "Times the operations of a U-Net's training step. Options that begin with --benchmark_ are Google "
      "Benchmark's.");
  app.add_option("--batch", o.batch, "images a step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--config", o.config,
                 "the U-Net: a UNet2DModel's config.json; default: 6.80 M parameters, 32x32 RGB");
  app.add_option("--head_dim", o.head_dim, "channels an attention head; 0: one head (without --config)")
      ->check(CLI::IsMember({0, 8, 16, 32, 64}))
      ->capture_default_str();
  app.add_option("--mixed_precision", o.mixed_precision, "no or bf16")
      ->check(CLI::IsMember({"no", "bf16"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::exit(app.exit(e) == 0 ? 0 : 2);
  }
  return o;
}

int run(int argc, char** argv) {
  const StepOptions options = parse(argc, argv);
  add_limits();
  for (const StepOperation& op : distinct_operations(options.train_config())) add_operation(op);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);  // takes its own options
  return imago::run_app("bench_kernels", [&] { return imago::run(argc, argv); });
}
