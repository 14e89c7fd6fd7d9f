// The autotuner: times an operation's candidates when it meets a shape for the first time, and remembers the fastest.
//
// In order: what this process has decided; the cache file of this GPU and build; the table that comes with the program
// (autotune_table.h); the candidates' times; the rule. Nothing is timed where tuning is off, while a stream is being
// captured (a captured run must not be waited for: the rule is taken, this once), or where there is one candidate only.
//
// IMAGO_AUTOTUNE=on|off: off takes the table or the rule. IMAGO_CACHE_DIR: where the cache lies; see
// docs/cuda_autotuner.md.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "kernels/cuda/autotune_table.h"
#include "kernels/cuda/choice_cache.h"
#include "kernels/cuda/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

using tiling::Candidates;

class Autotuner {
 public:
  struct Settings {
    bool measures;                 // or off
    std::filesystem::path folder;  // of the cache; empty: none is kept
    std::vector<ShippedChoices> shipped = kShippedChoices;
    std::optional<size_t> always = {};  // tests: take this candidate (the last, where there are fewer), measure nothing

    /// What the environment says. Bad input where IMAGO_AUTOTUNE is neither on nor off. Unset, it means on for a GPU and
    /// off in emulation, whose times say nothing.
    static Settings from_environment();
  };

  explicit Autotuner(Settings settings) : settings_(std::move(settings)) {}

  /// What is decided for a key already: one look-up.
  std::optional<Choice> recall(const ChoiceKey& key);
  /// Decides. `run` does the operation in a given way, on the operands of the call in flight; it is called many times.
  Choice decide(const Gpu& gpu, const ChoiceKey& key, const Candidates& candidates,
                const std::function<void(Choice)>& run);
  /// Keys whose candidates were timed by this process.
  int measured() const { return measured_; }

 private:
  struct Hash {
    size_t operator()(const ChoiceKey& key) const { return key.hash(); }
  };
  void open_cache(const Gpu& gpu);
  Choice measure(const Gpu& gpu, const std::string& key, const Candidates& candidates,
                 const std::function<void(Choice)>& run);

  Settings settings_;
  std::mutex mutex_;
  std::unordered_map<ChoiceKey, Choice, Hash> decided_;
  ChoiceCache cache_;
  bool opened_ = false;
  int measured_ = 0;
};

/// How to run an operation: `candidates()` lists the ways, and is asked the first time only. `run(choice)` must leave no
/// traces but in outputs that the operation overwrites: gradients that are added to are left alone.
template <class List, class Run>
Choice choose(const Gpu& gpu, const ChoiceKey& key, const List& candidates, const Run& run) {
  if (!gpu.autotuner) return candidates().rule();
  if (const std::optional<Choice> known = gpu.autotuner->recall(key)) return *known;
  return gpu.autotuner->decide(gpu, key, candidates(), run);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
