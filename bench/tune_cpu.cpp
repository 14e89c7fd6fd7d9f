// Measures which way computes each convolution of a U-Net's training step fastest on this machine, and writes
// the table that IMAGO_CPU_CHOICES=FILE puts before the rule (kernels/cpu/convolution/choice.h).
//
//   tune_cpu --config model/unet/config.json --batch 16 --output choices.txt
//   IMAGO_CPU_CHOICES=choices.txt train_ddpm ...
//
// The ways of a convolution run in turns, so that a busy moment meets them all. A way is chosen before the
// rule's only if its median gains more than 5 %: what differs by less is noise. OMP_NUM_THREADS sets the
// threads.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>

#include "apps/common/run_app.h"
#include "bench/median.h"
#include "bench/operation_call.h"
#include "bench/step_operations.h"
#include "bench/step_options.h"
#include "engine/io/atomic_file.h"
#include "kernels/cpu/cpu_backend.h"

namespace imago {
namespace {

using cpu::ConvKind;
using cpu::ConvPass;
using cpu::ConvShape;
using cpu::ConvWay;

constexpr ConvWay kWays[] = {ConvWay::kOneDnn, ConvWay::kDirect, ConvWay::kWinograd};
constexpr double kGain = 0.95;  // of the rule's time, to be chosen before it

struct TuningOptions : StepOptions {
  std::string output = "cpu_choices.txt";
};

/// One kind of convolution, and what its calls in a step take by each way.
struct Tuned {
  int calls = 0;
  ConvWay rule{}, best{};
  std::map<ConvWay, double> ms;
};

std::optional<ConvPass> pass_of(const Operation& o) {
  const std::map<std::string, ConvPass> passes{
      {"conv2d", ConvPass::kForward}, {"conv2d_dgrad", ConvPass::kDgrad}, {"conv2d_wgrad", ConvPass::kWgrad}};
  const auto found = passes.find(o.name);
  return found == passes.end() ? std::nullopt : std::optional(found->second);
}

ConvShape shape_of(const Operation& o) {
  // A linear layer's tensors are rows: images of one pixel.
  const auto image = [](const Shape& s) { return s.rank() == 4 ? s : Shape{s.numel() / s[-1], 1, 1, s[-1]}; };
  return ConvShape::of(image(o.x.a.shape), o.x.channels(), image(o.w.shape), image(o.y.shape), o.geometry);
}

double milliseconds(const std::function<void()>& call, int times) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() / times;
}

/// What one call takes by each way that is possible: medians, in milliseconds.
std::map<ConvWay, double> measure(const Operation& operation, ConvPass pass) {
  constexpr int kRounds = 7;
  constexpr double kRoundMs = 20;
  struct Runner {
    CpuBackend backend;
    std::function<void()> call;
    int times;
    std::vector<double> ms;
  };
  std::map<ConvWay, Runner> runners;
  for (const ConvWay way : kWays) {
    if (!cpu::is_possible(way, pass, shape_of(operation))) continue;
    Runner& r = runners.emplace(way, Runner{CpuBackend(way), {}, 1, {}}).first->second;
    r.call = prepare_call(operation, r.backend);
    r.call();  // builds primitives, touches memory
    r.times = std::max(1, static_cast<int>(kRoundMs / milliseconds(r.call, 1)));
  }
  for (int round = 0; round < kRounds; ++round) {
    for (auto& [way, r] : runners) r.ms.push_back(milliseconds(r.call, r.times));
  }
  std::map<ConvWay, double> medians;
  for (const auto& [way, r] : runners) medians[way] = median(r.ms);
  return medians;
}

/// Every kind of convolution of a step. Operations of one kind differ in the number of images or rows.
std::map<ConvKind, Tuned> tune(const TrainConfig& config) {
  std::map<ConvKind, Tuned> kinds;
  for (const StepOperation& op : distinct_operations(config)) {
    const std::optional<ConvPass> pass = pass_of(op.operation);
    if (!pass) continue;
    std::printf("%s\n", op.name().c_str());
    std::fflush(stdout);
    const ConvShape shape = shape_of(op.operation);
    const ConvKind kind = ConvKind::of(*pass, op.operation.y.dtype, shape);
    Tuned& t = kinds[kind];
    t.calls += op.calls;
    t.rule = cpu::way_by_rule(kind, shape);
    for (const auto& [way, ms] : measure(op.operation, *pass)) t.ms[way] += op.calls * ms;
  }
  for (auto& [kind, t] : kinds) {
    t.best = t.rule;
    double least = kGain * t.ms.at(t.rule);
    for (const auto& [way, ms] : t.ms) {
      if (ms < least) t.best = way, least = ms;
    }
  }
  return kinds;
}

std::string line_of(const ConvKind& kind, const Tuned& t) {
  std::string line = str(kind.text(), " -> ", cpu::name_of(t.best), " (", t.calls, " a step");
  for (const auto& [way, ms] : t.ms) {
    char text[64];
    std::snprintf(text, sizeof text, ", %s %.3f ms", cpu::name_of(way), ms);
    line += text;
  }
  return line + (t.best == t.rule ? ")\n" : str("; by rule ", cpu::name_of(t.rule), ")\n"));
}

TuningOptions parse(int argc, char** argv) {
  TuningOptions o;
  CLI::App app(
      "Measures the fastest way of every convolution of a U-Net on this machine, and writes them into a "
      "table");
  app.add_option("--config", o.config,
                 "the U-Net: a UNet2DModel's config.json, or a folder that holds one; default: 6.80 M "
                 "parameters, 32x32 RGB");
  app.add_option("--batch", o.batch, "images a step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--mixed_precision", o.mixed_precision, "no or bf16")
      ->check(CLI::IsMember({"no", "bf16"}))
      ->capture_default_str();
  app.add_option("--output", o.output, "the table; programs read it where IMAGO_CPU_CHOICES names it")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::exit(app.exit(e) == 0 ? 0 : 2);
  }
  return o;
}

int run(int argc, char** argv) {
  const TuningOptions options = parse(argc, argv);
  const std::filesystem::path folder = std::filesystem::absolute(options.output).parent_path();
  if (!std::filesystem::is_directory(folder))
    bad_input("--output ", options.output, ": there is no folder ", folder.string());
  AtomicFile file(options.output);  // a path that cannot be written is found before anything is measured
  const std::map<ConvKind, Tuned> kinds = tune(options.train_config());
  std::string table =
      "# Convolutions of a training step by their fastest way on one machine: docs/cpu_choices.md\n";
  double by_rule = 0, by_table = 0;
  int changed = 0;
  for (const auto& [kind, t] : kinds) {
    table += line_of(kind, t);
    by_rule += t.ms.at(t.rule);
    by_table += t.ms.at(t.best);
    changed += t.best != t.rule;
  }
  file.write(table);
  file.commit();
  std::printf(
      "\n%s\n%d of %zu kinds differ from the rule. A step's convolutions: %.1f ms by rule, %.1f ms by "
      "this.\n",
      table.c_str(), changed, kinds.size(), by_rule, by_table);
  std::printf("written: %s\n", options.output.c_str());
  return 0;
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  return imago::run_app("tune_cpu", [&] { return imago::run(argc, argv); });
}
