#include "kernels/cuda/runtime/autotune.h"

#include <cctype>
#include <chrono>
#include <cstdlib>

#include "kernels/cuda/build_id.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

namespace fs = std::filesystem;

std::string build_id() {  // other compilers make other code of the same kernels
  if (kEmulated) return kBuildId;
  return str(kBuildId, ".", CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10);
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

fs::path cache_folder() {
  for (const auto& [name, below] :
       {std::pair{"IMAGO_CACHE_DIR", ""}, {"XDG_CACHE_HOME", "imago"}, {"HOME", ".cache/imago"}})
    if (const std::string folder = environment(name); !folder.empty()) return fs::path(folder) / below;
  return {};
}

/// "NVIDIA H100 80GB HBM3" with 132 multiprocessors: "nvidia-h100-80gb-hbm3-sm90-132".
std::string name_of(const Gpu& gpu) {
  int device = 0;
  cudaDeviceProp properties;
  IMAGO_CUDA(cudaGetDevice(&device));
  IMAGO_CUDA(cudaGetDeviceProperties(&properties, device));
  std::string name;
  for (const char c : str(properties.name, "-sm", gpu.capability, "-", gpu.sms)) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u))
      name += static_cast<char>(std::tolower(u));
    else if (!name.empty() && name.back() != '-')
      name += '-';
  }
  return name;
}

bool is_capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  IMAGO_CUDA(cudaStreamIsCapturing(stream, &status));
  return status != cudaStreamCaptureStatusNone;
}

// ---- Timing ----

constexpr int kLeastRounds = 3, kMostRounds = 20;
constexpr std::chrono::milliseconds kEnough(50);  // for one key: no further round after that
constexpr double kGain = 0.97;  // a candidate that is less than 3 % faster is no better than the rule

class Event {
 public:
  Event() { IMAGO_CUDA(cudaEventCreate(&event_)); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t stream) { IMAGO_CUDA(cudaEventRecord(event_, stream)); }
  void wait() { IMAGO_CUDA(cudaEventSynchronize(event_)); }
  double microseconds_since(const Event& start) const {
    float milliseconds = 0;
    IMAGO_CUDA(cudaEventElapsedTime(&milliseconds, start.event_, event_));
    return 1000.0 * milliseconds;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
  return v[v.size() / 2];
}

/// Microseconds of each candidate, in rounds of one run each, so that a drifting clock meets all of them
/// alike. The operands stay in L2 where they fit: times of a loop, not of a step.
std::vector<double> median_times(cudaStream_t stream, const Candidates& candidates,
                                 const std::function<void(Choice)>& run) {
  std::vector<Event> events(candidates.size() + 1);
  std::vector<std::vector<double>> times(candidates.size());
  for (const Choice c : candidates) run(c);  // loads the kernels' code
  IMAGO_CUDA(cudaStreamSynchronize(stream));
  const auto start = std::chrono::steady_clock::now();
  for (int round = 0; round < kMostRounds; ++round) {
    if (round >= kLeastRounds && std::chrono::steady_clock::now() - start > kEnough) break;
    run(candidates.rule());  // keeps the GPU busy while the others queue up: launching is not timed
    events[0].record(stream);
    for (size_t i = 0; i < candidates.size(); ++i) {
      run(candidates[i]);
      events[i + 1].record(stream);
    }
    events.back().wait();
    for (size_t i = 0; i < candidates.size(); ++i)
      times[i].push_back(events[i + 1].microseconds_since(events[i]));
  }
  std::vector<double> medians;
  for (const std::vector<double>& t : times) medians.push_back(median(t));
  return medians;
}

}  // namespace

TuningSettings TuningSettings::from_environment() {
  const std::string value = environment("IMAGO_AUTOTUNE");
  if (!value.empty() && value != "on" && value != "off")
    bad_input("IMAGO_AUTOTUNE=", value, ": on or off expected");
  return {.measures = value.empty() ? !kEmulated : value == "on", .folder = cache_folder()};
}

std::optional<Choice> Autotuner::recall(const ChoiceKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = decided_.find(key);
  return found == decided_.end() ? std::nullopt : std::optional(found->second);
}

void Autotuner::open_cache(const Gpu& gpu) {
  opened_ = true;
  const std::string name = name_of(gpu);
  for (const ShippedChoices& table : settings_.shipped)
    if (table.gpu == name) cache_.read(table.lines);
  if (settings_.measures && !settings_.folder.empty())  // what was measured here counts more than the table
    cache_.open(settings_.folder / str("autotune-", name, "-", build_id(), ".txt"));
}

Choice Autotuner::decide(const Gpu& gpu, const ChoiceKey& key, const Candidates& candidates,
                         const std::function<void(Choice)>& run) {
  const std::lock_guard lock(mutex_);
  const auto remembered = [&](Choice c) { return decided_.emplace(key, c).first->second; };
  if (settings_.always) return remembered(candidates[std::min(*settings_.always, candidates.size() - 1)]);
  if (!opened_) open_cache(gpu);
  const std::string text = key.text();
  if (const Choice* known = cache_.find(text); known && candidates.contains(*known))
    return remembered(*known);
  if (!settings_.measures || candidates.size() == 1) return remembered(candidates.rule());
  if (is_capturing(gpu.stream)) return candidates.rule();
  return remembered(measure(gpu, text, candidates, run));
}

size_t Autotuner::fastest(const std::vector<double>& times) {
  const auto least = std::min_element(times.begin(), times.end());
  return *least < kGain * times[0] ? static_cast<size_t>(least - times.begin()) : 0;
}

Choice Autotuner::measure(const Gpu& gpu, const std::string& key, const Candidates& candidates,
                          const std::function<void(Choice)>& run) {
  const std::vector<double> times = median_times(gpu.stream, candidates, run);
  const size_t choice = fastest(times);
  ++measured_;
  cache_.add(key, candidates[choice], times[choice], times[0]);
  return candidates[choice];
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
