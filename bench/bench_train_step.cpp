// Times whole training steps, or forward passes, of one U-Net: the same network, sizes and options as
// bench/unet_torch.py, so that the two can be compared (bench/compare_torch.py does).
//
//   bench_train_step --batch 16 --threads 2 --head_dim 8 --mixed_precision bf16 --json
//   bench_train_step --profile                              # where the time of a step goes, operation by operation
//   bench_train_step --config bench/configs/ddpm_cifar10_32.json --ema --profile_json times.json   # for bench_cost
//
// A step is: times and noise, x_t, forward, loss, backward, AdamW. The parts are timed on the host after a
// synchronize.
#include <omp.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "bench/cost_report.h"
#include "bench/profiling_backend.h"
#include "engine/io/json.h"
#include "engine/nn/flat_parameters.h"
#include "engine/optim/adamw.h"
#include "engine/tensor/allocator.h"
#include "models/diffusion/pipeline_folder.h"
#include "models/diffusion/training_loss.h"
#include "models/unet/unet.h"

namespace imago {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  int batch = 16, threads = 2, steps = 6, warmup = 2, head_dim = 8;
  std::string mixed_precision = "no", device = "cpu", config, profile_json;
  bool infer = false, json = false, profile = false, ema = false;
};

/// --config, or 6.80 million parameters: three levels of 64, 128 and 128 channels, attention in the lower two.
UNetConfig network(const Options& o) {
  UNetConfig config;
  if (!o.config.empty()) {
    std::vector<std::string> warnings;
    config = read_unet_config_anywhere(o.config, warnings);
    for (const std::string& w : warnings) std::fprintf(stderr, "bench_train_step: %s\n", w.c_str());
    config.check_resolution(32, 32, "the pictures' size");
    if (config.takes_class_labels())
      bad_input("--config ", o.config, ": expected a model without class labels");
    return config;
  }
  config.down_block_types = {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"};
  config.up_block_types = {"AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"};
  config.block_out_channels = {64, 128, 128};
  config.attention_head_dim = o.head_dim > 0 ? std::optional(o.head_dim) : std::nullopt;
  return config;
}

struct StepTimes {
  double forward, backward, optimizer;
  double cpu;  // of all threads, in all three
  double total() const { return forward + backward + optimizer; }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        device_(parse_device(options.device)),
        activations_(options.mixed_precision == "bf16" ? DType::kBFloat16 : DType::kFloat32),
        model_(network(options)),
        parameters_(model_, {device_, DType::kFloat32, activations_, !options.infer}),
        loss_(SchedulerConfig(), {.seed = 1, .activations = activations_}) {
    parameters_.initialize(0);
    parameters_.refresh_compute();
    if (!options.infer) {
      AdamW::Options adamw{.max_grad_norm = 0, .ema = {}};
      if (options.ema) adamw.ema.emplace();
      optimizer_.emplace(parameters_, adamw);
      parameters_.zero_gradients();
    }
    const Shape shape{options.batch, 32, 32, model_.config().in_channels};
    pictures_ = empty(shape, DType::kFloat32, device_);  // [N,H,W,C]
    std::vector<int64_t> ids(static_cast<size_t>(options.batch));
    std::iota(ids.begin(), ids.end(), 0);
    backend_of(device_).normal({2, 0, from_vector(ids, {options.batch}, device_)}, pictures_);
    weight_ = std::vector<float>(ids.size(), 1.0f / static_cast<float>(options.batch));
  }

  StepTimes step() {
    const double start = cpu_seconds();
    StepTimes times = options_.infer ? infer() : train();
    times.cpu = cpu_seconds() - start;
    return times;
  }
  int64_t parameters() const { return parameters_.count(); }
  double loss() const { return last_loss_; }
  MemoryStats memory() const { return allocator_of(device_).stats(); }

 private:
  double lap() {  // seconds since the last call
    backend_of(device_).synchronize();
    const auto now = Clock::now();
    const std::chrono::duration<double> seconds = now - mark_;
    mark_ = now;
    return seconds.count();
  }

  StepTimes train() {
    std::vector<int64_t> samples;
    for (int i = 0; i < options_.batch; ++i) samples.push_back(samples_++);
    StepTimes times;
    lap();
    const Tensor loss = loss_(model_, loss_.batch(model_.config(), pictures_, samples));  // [N]
    times.forward = lap();
    backward(loss, from_vector(weight_, {options_.batch}, device_));  // the gradient of the mean
    times.backward = lap();
    optimizer_->step(1e-4);
    parameters_.zero_gradients();
    times.optimizer = lap();
    const std::vector<float> losses = to_vector<float>(loss);
    last_loss_ = std::accumulate(losses.begin(), losses.end(), 0.0) / options_.batch;
    return times;
  }

  StepTimes infer() {
    const NoGrad no_grad;
    Tensor x = pictures_;
    if (activations_ != DType::kFloat32) {
      x = empty(pictures_.shape(), activations_, device_);
      backend_of(device_).copy(pictures_, x);
    }
    const Tensor t = timesteps_tensor(model_.config(), std::vector<int>(weight_.size(), 500), device_);
    lap();
    model_.forward(x, t);
    return {lap(), 0, 0, 0};
  }

  Options options_;
  Device device_;
  DType activations_;
  UNet model_;
  FlatParameters parameters_;
  TrainingLoss loss_;
  std::optional<AdamW> optimizer_;
  Tensor pictures_;
  std::vector<float> weight_;
  int64_t samples_ = 0;
  double last_loss_ = 0;
  Clock::time_point mark_;
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app("Times whole training steps of the 6.80 M parameter U-Net of bench/unet_torch.py");
  app.add_option("--batch", o.batch, "pictures a step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--threads", o.threads, "CPU threads")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--steps", o.steps, "steps that are timed")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--warmup", o.warmup, "steps before them")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--head_dim", o.head_dim, "channels an attention head; 0: one head")
      ->check(CLI::IsMember({0, 8, 16, 32, 64}))
      ->capture_default_str();
  app.add_option("--mixed_precision", o.mixed_precision, "no or bf16")
      ->check(CLI::IsMember({"no", "bf16"}))
      ->capture_default_str();
  app.add_option("--device", o.device, "auto, cpu or cuda")->capture_default_str();
  app.add_flag("--infer", o.infer, "forward only, without recording gradients");
  app.add_flag("--json", o.json, "one JSON object, as bench/unet_torch.py prints it");
  app.add_option("--config", o.config,
                 "another U-Net: a UNet2DModel's config.json, or a folder that holds one");
  app.add_flag("--ema", o.ema, "keep a moving average of the weights");
  app.add_flag("--profile", o.profile, "the time of every operation");
  app.add_option("--profile_json", o.profile_json,
                 "also write the times by layer into this file, for bench_cost");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::exit(app.exit(e) == 0 ? 0 : 2);
  }
  o.profile |= !o.profile_json.empty();
  return o;
}

void print_times(const Options& o, const Bench& bench, const std::vector<StepTimes>& rows) {
  const auto column = [&](auto get) {
    std::vector<double> values;
    for (const StepTimes& row : rows) values.push_back(get(row));
    return values;
  };
  const std::vector<double> totals = column([](const StepTimes& t) { return t.total(); });
  const double forward = median(column([](const StepTimes& t) { return t.forward; }));
  const double backward = median(column([](const StepTimes& t) { return t.backward; }));
  const double optimizer = median(column([](const StepTimes& t) { return t.optimizer; }));
  const double cpu = median(column([](const StepTimes& t) { return t.cpu; }));
  const auto [least, most] = std::minmax_element(totals.begin(), totals.end());
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double peak_mib = static_cast<double>(bench.memory().peak_bytes) / (1 << 20);
  if (!o.json) {
    std::printf("%s, %s, head_dim %d, batch %d, %d threads: %.1f ms a step (%.1f to %.1f), %.1f pictures/s\n",
                o.infer ? "forward" : "training", o.mixed_precision == "no" ? "float32" : "bf16", o.head_dim,
                o.batch, o.threads, 1e3 * median(totals), 1e3 * *least, 1e3 * *most,
                o.batch / median(totals));
    std::printf(
        "forward %.1f ms, backward %.1f ms, optimizer %.1f ms; CPU time %.1f ms, tensors at most %.0f MiB; "
        "loss %.4f\n",
        1e3 * forward, 1e3 * backward, 1e3 * optimizer, 1e3 * cpu, peak_mib, bench.loss());
    return;
  }
  nlohmann::ordered_json line{{"program", "imago"},
                              {"parameters", bench.parameters()},
                              {"threads", o.threads},
                              {"batch", o.batch},
                              {"head_dim", o.head_dim},
                              {"mixed_precision", o.mixed_precision},
                              {"infer", o.infer},
                              {"step_s_median", median(totals)},
                              {"step_s_min", *least},
                              {"step_s_max", *most},
                              {"forward_s", forward},
                              {"backward_s", backward},
                              {"optimizer_s", optimizer},
                              {"cpu_s", cpu},
                              {"loss", bench.loss()},
                              {"peak_tensor_mib", peak_mib},
                              {"peak_rss_mib", static_cast<double>(usage.ru_maxrss) / 1024}};
  std::printf("%s\n", line.dump().c_str());
}

using Row = std::pair<std::string, ProfilingBackend::Entry>;

void print_rows(std::vector<Row> rows, size_t most, double step_seconds, int steps) {
  std::sort(rows.begin(), rows.end(),
            [](const Row& a, const Row& b) { return a.second.cpu_seconds > b.second.cpu_seconds; });
  std::printf("%9s %6s %9s %7s %9s %10s %8s  %s\n", "ms/step", "share", "CPU ms", "calls", "GFLOP/s",
              "per CPU s", "GB/s", "operation");
  for (size_t i = 0; i < std::min(most, rows.size()); ++i) {
    const auto& [name, e] = rows[i];
    const double gflops = 1e-9 * static_cast<double>(e.flops), gbytes = 1e-9 * static_cast<double>(e.bytes);
    std::printf("%9.2f %5.1f%% %9.2f %7.1f %9.1f %10.1f %8.1f  %s\n", 1e3 * e.seconds / steps,
                100 * e.seconds / steps / step_seconds, 1e3 * e.cpu_seconds / steps,
                static_cast<double>(e.calls) / steps, gflops / e.seconds, gflops / e.cpu_seconds,
                gbytes / e.seconds, name.c_str());
  }
}

/// By operation, then the most expensive shapes. What the operations do not account for is the engine itself.
void print_profile(const ProfilingBackend& profile, double step_seconds, int steps) {
  std::map<std::string, ProfilingBackend::Entry> families, shapes;
  double seconds = 0;
  for (const auto& [key, entry] : profile.entries()) {
    families[key.operation] += entry;
    shapes[key.operation + " " + key.shapes] += entry;
    seconds += entry.seconds;
  }
  std::printf("\n%.1f ms a step, %.1f ms of them in operations\n\n", 1e3 * step_seconds,
              1e3 * seconds / steps);
  print_rows({families.begin(), families.end()}, families.size(), step_seconds, steps);
  std::printf("\n");
  print_rows({shapes.begin(), shapes.end()}, 40, step_seconds, steps);
}

void write_profile(const Options& o, const ProfilingBackend& profile) {
  MeasuredTimes times;
  for (const auto& [key, entry] : profile.entries())
    times[{key.layer, key.operation}] += entry.seconds / o.steps;
  write_json(o.profile_json, to_json(times, o.device));
}

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  omp_set_num_threads(options.threads);
  std::optional<ProfilingBackend> profile;
  if (options.profile) {
    const Device device = parse_device(options.device);
    profile.emplace(backend_of(device));
    register_backend(device, *profile);
  }
  Bench bench(options);
  for (int i = 0; i < options.warmup; ++i) bench.step();
  if (profile) profile->reset();
  std::vector<StepTimes> rows;
  for (int i = 0; i < options.steps; ++i) rows.push_back(bench.step());
  print_times(options, bench, rows);
  if (profile) {
    double seconds = 0;
    for (const StepTimes& row : rows) seconds += row.total();
    print_profile(*profile, seconds / options.steps, options.steps);
    if (!options.profile_json.empty()) write_profile(options, *profile);
  }
  return 0;
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  try {
    return imago::run(argc, argv);
  } catch (const imago::Error& e) {
    std::fprintf(stderr, "bench_train_step: %s\n", e.what());
    return e.fault == imago::Fault::kBadInput ? 2 : 1;
  }
}
