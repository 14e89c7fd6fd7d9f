// The autotuner: times an operation's candidates when it meets a shape for the first time, and
// remembers the fastest.
//
// In order: what this process has decided; the cache file of this GPU and build; the table that comes with
// the program (autotune_table.h); the candidates' times; the rule. Nothing is timed where tuning is off,
// while a stream is being captured (a captured run must not be waited for: the rule is taken, this once), or
// where there is one candidate only.
//
// IMAGO_AUTOTUNE=on|off: off takes the table or the rule. IMAGO_CACHE_DIR: where the cache lies; see
// docs/cuda_autotuner.md.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/runtime/autotune_table.h"
#include "kernels/cuda/runtime/choice_cache.h"
#include "kernels/cuda/runtime/gpu.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Which sources there are, as bits: for a ChoiceKey.
inline int sources_there(const Concat& x) {
  return (x.a ? 1 : 0) + (x.b ? 2 : 0);
}

/// Whether candidates are timed, and where what was found is kept.
struct TuningSettings {
  bool measures;                 // or off
  std::filesystem::path folder;  // of the cache; empty: none is kept
  std::vector<ShippedChoices> shipped = kShippedChoices;
  /// Tests: this candidate of every list (the last, where there are fewer), with nothing measured.
  std::optional<size_t> always = {};

  /// What the environment says. Bad input where IMAGO_AUTOTUNE is neither on nor off. Unset, it means on for
  /// a GPU and off in emulation, whose times say nothing.
  static TuningSettings from_environment();
};

class Autotuner {
 public:
  explicit Autotuner(TuningSettings settings) : settings_(std::move(settings)) {}

  /// What is decided for a key already: one look-up.
  std::optional<Choice> recall(const ChoiceKey& key);
  /// Decides. `run` does the operation in a given way, on the operands of the call in flight; it is
  /// called many times.
  Choice decide(const Gpu& gpu, const ChoiceKey& key, const Candidates& candidates,
                const std::function<void(Choice)>& run);
  /// Which candidate to take by their times, the rule's first: the fastest, if that gains more
  /// than noise does.
  static size_t fastest(const std::vector<double>& times);
  /// Keys whose candidates were timed by this process.
  int measured() const { return measured_; }

 private:
  struct Hash {
    size_t operator()(const ChoiceKey& key) const { return key.hash(); }
  };
  void open_cache(const Gpu& gpu);
  Choice measure(const Gpu& gpu, const std::string& key, const Candidates& candidates,
                 const std::function<void(Choice)>& run);

  TuningSettings settings_;
  std::mutex mutex_;
  std::unordered_map<ChoiceKey, Choice, Hash> decided_;
  ChoiceCache cache_;
  bool opened_ = false;
  int measured_ = 0;
};

/// How to run an operation: `candidates()` lists the ways, and is asked the first time only. `run(choice)`
/// must leave no traces but in outputs that the operation overwrites.
template <class List, class Run>
Choice choose(const Gpu& gpu, const ChoiceKey& key, const List& candidates, const Run& run) {
  if (!gpu.autotuner) return candidates().rule();
  if (const std::optional<Choice> known = gpu.autotuner->recall(key)) return *known;
  return gpu.autotuner->decide(gpu, key, candidates(), run);
}

/// Whether a run is one that counts. A trial leaves alone what the operation adds to.
enum class Purpose { kTrial, kResult };

/// Chooses and runs an operation that needs bytes(choice, purpose) of scratch memory: run(choice, purpose,
/// memory). The workspace is asked once, for as much as the largest of the runs wants.
template <class List, class Bytes, class Run>
void run_fastest(const Gpu& gpu, const ChoiceKey& key, Workspace& workspace, const List& candidates,
                 const Bytes& bytes, const Run& run) {
  size_t most = 0;
  void* memory = nullptr;
  const auto list = [&] {
    const Candidates all = candidates();
    for (const Choice c : all) most = std::max(most, bytes(c, Purpose::kTrial));
    return all;
  };
  const Choice choice = choose(gpu, key, list, [&](Choice c) {
    if (!memory && most) memory = workspace.get(most);
    run(c, Purpose::kTrial, memory);
  });
  if (const size_t wanted = bytes(choice, Purpose::kResult); !memory && wanted)
    memory = workspace.get(wanted);
  run(choice, Purpose::kResult, memory);
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
