// What a training step should take on a GPU, layer by layer, before there is one; and how far off
// a measurement is.
//
//   bench_cost --config bench/configs/ddpm_cifar10_32.json --batch_size 128 --precision bf16 --by shape
//   bench_cost --config bench/configs/ddpm_cifar10_32.json --batch_size 128 --precision bf16 --page
//   bench_train_step --device cuda --config ... --profile_json measured.json
//   bench_cost --config ... --by layer --measured measured.json
//
// The model behind it is in cost_model.h; its figures are expectations.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/common/run_app.h"
#include "engine/io/json.h"
#include "lab/cost_model/cost_report.h"
#include "models/diffusion/pipeline_folder.h"

namespace imago {
namespace {

struct Options {
  std::string config, gpu = "h100", precision = "bf16", by = "shape", json, measured;
  int batch_size = 128, resolution = 0;
  bool markdown = false, page = false;
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app("Expected times of one training step (AdamW, EMA, gradient clipping), not measured ones");
  app.add_option("--config", o.config, "a UNet2DModel's config.json, or a folder that holds one")->required();
  app.add_option("--batch_size", o.batch_size, "images a step")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--resolution", o.resolution,
                 "side of the images; default: the model's sample_size, else 32")
      ->check(CLI::Range(1, 1 << 14));
  app.add_option("--gpu", o.gpu, "h100, a100, 4090 or 5090")->capture_default_str();
  app.add_option("--precision", o.precision, "bf16 or no (float32)")
      ->check(CLI::IsMember({"bf16", "no"}))
      ->capture_default_str();
  app.add_option("--by", o.by, "layer, shape, op or kernel")
      ->check(CLI::IsMember({"layer", "shape", "op", "kernel"}))
      ->capture_default_str();
  app.add_option("--measured", o.measured, "times by layer, from bench_train_step --profile_json");
  app.add_option("--json", o.json, "also write every operation and its kernels into this file");
  app.add_flag("--markdown", o.markdown, "tables in Markdown");
  app.add_flag("--page", o.page,
               "all tables, with what they mean, as a page in Markdown: bench/results/expected_*.md");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::exit(app.exit(e) == 0 ? 0 : 2);
  }
  return o;
}

TrainConfig train_config(const Options& o) {
  TrainConfig c;
  std::vector<std::string> warnings;
  c.unet = read_unet_config_anywhere(o.config, warnings);
  for (const std::string& warning : warnings) std::fprintf(stderr, "bench_cost: %s\n", warning.c_str());
  const auto& sample = c.unet.sample_size;
  c.height = o.resolution ? o.resolution : sample ? (*sample)[0] : 32;
  c.width = o.resolution ? o.resolution : sample ? (*sample)[1] : 32;
  c.unet.check_resolution(c.height, c.width, "--resolution");
  c.batch_size = o.batch_size;
  c.compute = o.precision == "bf16" ? DType::kBFloat16 : DType::kFloat32;
  c.optimizer.ema.emplace();
  return c;
}

CostGrouping grouping_of(const std::string& by) {
  return by == "layer"   ? CostGrouping::kLayer
         : by == "shape" ? CostGrouping::kShape
         : by == "op"    ? CostGrouping::kOperation
                         : CostGrouping::kKernel;
}

void print_head(const Options& o, const GpuModel& gpu, const CostRow& all) {
  const double peak = o.precision == "bf16" ? gpu.tensor_peak() : gpu.float_peak();
  const double lower_bound = std::max(1e3 * all.flops / peak, 1e3 * all.bytes / gpu.memory_bandwidth);
  std::printf(
      "Expected, not measured: one training step of %s, batch %d, %s, on an %s.\n"
      "%.2f ms: %.2f TFLOP, %.1f GB, %lld launches; %.0f images/s.\n"
      "The parts at the rate of the chip: %.2f ms. All FLOPs at %.0f TFLOP/s, or all bytes at %.1f TB/s: "
      "%.2f ms.\n\n",
      o.config.c_str(), o.batch_size, o.precision == "bf16" ? "bfloat16" : "float32", gpu.title.c_str(),
      1e3 * all.time.total(), 1e-12 * all.flops, 1e-9 * all.bytes, static_cast<long long>(all.launches),
      o.batch_size / all.time.total(), 1e3 * all.time.lower_bound, 1e-12 * peak, 1e-12 * gpu.memory_bandwidth,
      lower_bound);
}

constexpr const char* kPageHead =
    R"(# Expected, not measured: a training step

No GPU has run this. It is what [the cost model](../../lab/cost_model/cost_model.h) says of the kernels as they are:
launches, tiles and blocks are those of the launchers (a test holds the model to that), instructions those that
[the compiler made](cuda_sass.md), and times follow from them and from constants that are assumed. Written by

    bench_cost --config %s --batch_size %d --precision %s --gpu %s --page

[What to do about it](../../docs/cost_model.md).

)";

constexpr const char* kPageColumns =
    R"(*lower bound*: the operation's own FLOPs or bytes at the rate of the chip, summed over its launches. *blocks*, *waves*,
*in use* (multiprocessors with work while the launch lasts), *shared B/FLOP* (bytes of shared memory a useful FLOP) and
*limit* are those of the launch that takes longest.
)";

constexpr const char* kPageLosses =
    R"(Into what the milliseconds fall: *padding*, products with zeros and bytes moved twice; *operands*, waiting for shared
memory, L2 or instructions; *latency*, prologues, epilogues and chains of loads; *tail*, multiprocessors without work;
*passes*, launches that add nothing of their own; *launch*, the gap before each.
)";

void print_page(const Options& o, const GpuModel& gpu, const std::vector<RecordedOperation>& operations,
                const std::vector<OperationCost>& costs) {
  const auto rows = [&](CostGrouping by) { return group_costs(costs, by); };
  const auto by_work = [&](CostGrouping by) { return format_costs(rows(by), by, TableStyle::kMarkdown); };
  const auto by_loss = [&](CostGrouping by) { return format_losses(rows(by), by, TableStyle::kMarkdown); };
  std::printf(kPageHead, o.config.c_str(), o.batch_size, o.precision.c_str(), o.gpu.c_str());
  print_head(o, gpu, total_of(rows(CostGrouping::kOperation)));
  std::printf("## By operation\n\n%s\n%s\n%s\n%s\n", kPageColumns, by_work(CostGrouping::kOperation).c_str(),
              kPageLosses, by_loss(CostGrouping::kOperation).c_str());
  std::printf("## By kernel\n\n%s\n", by_loss(CostGrouping::kKernel).c_str());
  std::printf(
      "## By shape\n\nLayers whose operation, filter and resolution (of its input) are the same; linear "
      "layers are "
      "filters of 1x1\nover rows.\n\n%s\n",
      by_work(CostGrouping::kShape).c_str());
  std::printf("## What if a constant is wrong\n\nThe whole step, with one constant changed.\n\n%s",
              format_sensitivity(gpu, operations, TableStyle::kMarkdown).c_str());
}

int run(int argc, char** argv) {
  const Options o = parse(argc, argv);
  const CostGrouping grouping = grouping_of(o.by);
  if (grouping == CostGrouping::kKernel && !o.measured.empty())
    bad_input("--measured goes with --by layer, shape or op: profiles do not see single kernels");
  const GpuModel& gpu = gpu_model(o.gpu);
  MeasuredTimes measured;
  if (!o.measured.empty()) measured = read_measured(o.measured);
  const std::vector<RecordedOperation> operations = record_training_step(train_config(o));
  const std::vector<OperationCost> costs = cost_of(gpu, operations);
  if (o.page) {
    print_page(o, gpu, operations, costs);
    return 0;
  }
  const std::vector<CostRow> rows = group_costs(costs, grouping, &measured);
  const TableStyle style = o.markdown ? TableStyle::kMarkdown : TableStyle::kText;
  print_head(o, gpu, total_of(rows));
  std::printf("%s\n%s", format_costs(rows, grouping, style).c_str(),
              format_losses(rows, grouping, style).c_str());
  if (!o.json.empty()) write_json(o.json, to_json(gpu, costs));
  return 0;
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  return imago::run_app("bench_cost", [&] { return imago::run(argc, argv); });
}
