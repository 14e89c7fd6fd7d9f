// Times training steps, or forward passes, of one U-Net.
//
//   bench_train_step --batch 16 --threads 2 --head_dim 8 --mixed_precision bf16 --json
//   bench_train_step --profile                     # where the time of a step goes, operation by operation
//   bench_train_step --config bench/configs/ddpm_cifar10_32.json --ema --profile_json times.json
//   bench_train_step --trainer --device cuda --batch 128 --config bench/configs/ddpm_cifar10_32.json
//
// Without --trainer the step is taken apart into forward, backward and optimizer, as bench/unet_torch.py
// takes it apart, so that the two can be compared (./run bench does). With --trainer it is what
// train_ddpm runs.
#include <omp.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "apps/common/run_app.h"
#include "bench/forward_pass.h"
#include "bench/median.h"
#include "bench/profile_table.h"
#include "bench/step_parts.h"
#include "bench/whole_step.h"
#include "engine/io/json.h"
#include "engine/tensor/allocator.h"
#include "lab/cost_model/cost_report.h"

namespace imago {
namespace {

StepOptions parse(int argc, char** argv) {
  StepOptions o;
  CLI::App app("Times training steps of a U-Net");
  const auto number = [&](const char* name, int& value, const char* text, const CLI::Validator& range) {
    app.add_option(name, value, text)->check(range)->capture_default_str();
  };
  number("--batch", o.batch, "images a step", CLI::PositiveNumber);
  number("--threads", o.threads, "CPU threads", CLI::PositiveNumber);
  number("--steps", o.steps, "steps that are timed, each by itself; with --trainer in one piece",
         CLI::PositiveNumber);
  number("--rounds", o.rounds, "how often: the median of all is reported", CLI::PositiveNumber);
  number("--warmup", o.warmup, "steps before them", CLI::NonNegativeNumber);
  number("--head_dim", o.head_dim, "channels an attention head; 0: one head (without --config)",
         CLI::IsMember({0, 8, 16, 32, 64}));
  number("--loader_workers", o.loader_workers, "threads that prepare batches (with --trainer)",
         CLI::NonNegativeNumber);
  app.add_option("--config", o.config,
                 "another U-Net: a UNet2DModel's config.json, or a folder that holds one");
  app.add_option("--mixed_precision", o.mixed_precision, "no or bf16")
      ->check(CLI::IsMember({"no", "bf16"}))
      ->capture_default_str();
  app.add_option("--device", o.device, "auto, cpu or cuda")->capture_default_str();
  auto* infer = app.add_flag("--infer", o.infer, "forward only, without recording gradients");
  app.add_flag("--trainer", o.trainer, "the trainer's step, data loading included, in one piece")
      ->excludes(infer);
  app.add_flag("--ema", o.ema, "keep a moving average of the weights");
  app.add_flag("--json", o.json, "one JSON object, as bench/unet_torch.py prints it");
  app.add_flag("--profile", o.profile, "the time of every operation, waiting for each");
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

/// What was measured of one network on one device.
struct Measurement {
  std::vector<StepTimes> times;
  int64_t parameters = 0;
  double loss = 0;
  MemoryStats memory;

  double median_of(double StepTimes::*part) const {
    std::vector<double> values;
    for (const StepTimes& t : times) values.push_back(t.*part);
    return median(values);
  }
  std::pair<double, double> least_and_most() const {
    const auto [least, most] = std::minmax_element(
        times.begin(), times.end(), [](const StepTimes& a, const StepTimes& b) { return a.total < b.total; });
    return {least->total, most->total};
  }
};

double mebibytes(int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

void print_text(const StepOptions& o, const Measurement& m) {
  const auto [least, most] = m.least_and_most();
  const double step = m.median_of(&StepTimes::total);
  std::printf(
      "%s, %s, %.2f M parameters, batch %d, %d threads: %.1f ms a step (%.1f to %.1f), %.1f images/s\n",
      o.infer ? "forward" : "training", o.mixed_precision == "no" ? "float32" : "bf16",
      1e-6 * static_cast<double>(m.parameters), o.batch, o.threads, 1e3 * step, 1e3 * least, 1e3 * most,
      o.batch / step);
  if (!o.trainer) {
    std::printf("forward %.1f ms, backward %.1f ms, optimizer %.1f ms; ",
                1e3 * m.median_of(&StepTimes::forward), 1e3 * m.median_of(&StepTimes::backward),
                1e3 * m.median_of(&StepTimes::optimizer));
  }
  std::printf("CPU time %.1f ms, tensors at most %.0f MiB; loss %.4f\n", 1e3 * m.median_of(&StepTimes::cpu),
              mebibytes(m.memory.peak_bytes), m.loss);
}

nlohmann::ordered_json json_of(const StepOptions& o, const Measurement& m) {
  const auto [least, most] = m.least_and_most();
  const double step = m.median_of(&StepTimes::total);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  nlohmann::ordered_json line{{"program", "imago"},
                              {"parameters", m.parameters},
                              {"threads", o.threads},
                              {"batch", o.batch},
                              {"head_dim", o.head_dim},
                              {"config", o.config},
                              {"mixed_precision", o.mixed_precision},
                              {"infer", o.infer},
                              {"trainer", o.trainer},
                              {"step_s_median", step},
                              {"step_s_min", least},
                              {"step_s_max", most},
                              {"pictures_per_second", o.batch / step}};
  if (!o.trainer) {
    line.update({{"forward_s", m.median_of(&StepTimes::forward)},
                 {"backward_s", m.median_of(&StepTimes::backward)},
                 {"optimizer_s", m.median_of(&StepTimes::optimizer)}});
  }
  line.update({{"cpu_s", m.median_of(&StepTimes::cpu)},
               {"loss", m.loss},
               {"peak_tensor_mib", mebibytes(m.memory.peak_bytes)},
               {"reserved_mib", mebibytes(m.memory.bytes_reserved)},
               {"peak_rss_mib", static_cast<double>(usage.ru_maxrss) / 1024}});
  return line;
}

/// Warm-up, then the rounds. Steps is StepParts, ForwardPass or WholeStep.
template <class Steps>
Measurement measure(const StepOptions& options, ProfilingBackend* profile) {
  Steps steps(options);
  if (options.warmup > 0) steps.take(options.warmup);
  if (profile) profile->reset();
  Measurement m;
  for (int i = 0; i < options.rounds; ++i) {
    for (const StepTimes& t : steps.take(options.steps)) m.times.push_back(t);
  }
  m.parameters = steps.parameters();
  m.loss = steps.loss();
  m.memory = allocator_of(parse_device(options.device)).stats();
  return m;
}

void write_profile(const StepOptions& o, const ProfilingBackend& profile, int steps) {
  MeasuredTimes times;
  for (const auto& [key, entry] : profile.entries()) {
    times[{key.layer, key.operation}] += entry.seconds / steps;
  }
  write_json(o.profile_json, to_json(times, o.device));
}

int run(int argc, char** argv) {
  const StepOptions options = parse(argc, argv);
  omp_set_num_threads(options.threads);
  std::optional<ProfilingBackend> profile;
  if (options.profile) {
    const Device device = parse_device(options.device);
    profile.emplace(backend_of(device));
    register_backend(device, *profile);
  }
  ProfilingBackend* const noted = profile ? &*profile : nullptr;
  const Measurement m = options.trainer ? measure<WholeStep>(options, noted)
                        : options.infer ? measure<ForwardPass>(options, noted)
                                        : measure<StepParts>(options, noted);
  const int steps = options.steps * options.rounds;
  if (options.json) {
    nlohmann::ordered_json line = json_of(options, m);
    if (profile) line["profile"] = profile_json(*profile, steps);
    std::printf("%s\n", line.dump().c_str());
  } else {
    print_text(options, m);
    if (profile) print_profile(*profile, m.median_of(&StepTimes::total), steps);
  }
  if (!options.profile_json.empty()) write_profile(options, *profile, steps);
  return 0;
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  return imago::run_app("bench_train_step", [&] { return imago::run(argc, argv); });
}
