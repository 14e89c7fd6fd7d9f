// What the cost model prices is the step that the benchmark times.
#include "lab/cost_model/recorded_step.h"

#include <gtest/gtest.h>

#include "bench/step_parts.h"

namespace imago {
namespace {

std::string text_of(const Operation& o) {
  return str(o.name, " ", o.shapes(), " in ", o.layer);
}

/// The CPU, which also writes down what it is asked for.
class Recorder final : public WatchedBackend {
 public:
  Recorder() : WatchedBackend(cpu_backend()) { register_backend(Device::kCpu, *this); }
  ~Recorder() override { register_backend(Device::kCpu, cpu_backend()); }
  std::vector<std::string> operations;

 private:
  void watch(const Operation& o, const Call& call) override {
    operations.push_back(text_of(o));
    call(inner());
  }
};

TEST(RecordedStep, IsWhatTheBenchmarkTimes) {
  StepOptions options;
  options.batch = 1;
  options.ema = true;
  StepParts steps(options);
  steps.take(1);  // what is done once only lies behind
  std::vector<std::string> timed;
  {
    Recorder recorder;
    steps.take(1);
    timed = std::move(recorder.operations);
  }
  std::vector<std::string> priced;
  for (const RecordedOperation& r : record_training_step(options.train_config()))
    priced.push_back(text_of(r.operation));
  EXPECT_GT(priced.size(), 400u);
  EXPECT_EQ(timed, priced);
}

}  // namespace
}  // namespace imago
