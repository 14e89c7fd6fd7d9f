// Training and sampling as a whole on the CUDA kernels, in emulation: equal to the CPU, the same bits
// as a graph and step by step.
#include <gtest/gtest.h>

#include <cstdlib>

#include "engine/tensor/allocator.h"
#include "kernels/cuda/runtime/cuda_backend.h"
#include "models/diffusion/sampler.h"
#include "models/trainer/trainer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_training.h"

namespace imago::test {
namespace {

constexpr Device kEmulated = Device::kCudaOnCpu;

/// The emulated GPU, which also counts what it recorded and replayed.
class CountingBackend final : public cuda_on_cpu::CudaBackend {
 public:
  int recorded = 0, launched = 0;

  std::unique_ptr<Graph> record_graph(const std::function<void()>& enqueue) override {
    ++recorded;
    return std::make_unique<CountingGraph>(CudaBackend::record_graph(enqueue), launched);
  }

 private:
  class CountingGraph final : public Graph {
   public:
    CountingGraph(std::unique_ptr<Graph> graph, int& launched)
        : graph_(std::move(graph)), launched_(launched) {}
    void launch() override {
      ++launched_;
      graph_->launch();
    }

   private:
    std::unique_ptr<Graph> graph_;
    int& launched_;
  };
};

CountingBackend& gpu() {
  static CountingBackend& backend = []() -> CountingBackend& {
    setenv("IMAGO_EMU_MEMORY_MB", "512", 0);  // a small GPU: one of the tests fills it
    static CountingBackend b;
    register_backend(kEmulated, b);
    return b;
  }();
  return backend;
}

/// What a run leaves: its rows, and the state of weights and moments.
struct Outcome {
  std::vector<std::string> rows;
  std::vector<MetricsRow> metrics;
  std::vector<float> values, gradients, first_moment, ema;

  void take(const std::vector<MetricsRow>& more) {
    for (const MetricsRow& row : more) {
      metrics.push_back(row);
      rows.push_back(text_of(row));
    }
  }
  void take_state(Trainer& trainer) {
    values = to_vector<float>(trainer.parameters().values());
    gradients = to_vector<float>(trainer.parameters().gradients());
    first_moment = to_vector<float>(trainer.optimizer().first_moment());
    ema = to_vector<float>(trainer.optimizer().ema());
  }
};

void expect_same_bits(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.values, b.values);
  EXPECT_EQ(a.first_moment, b.first_moment);
  EXPECT_EQ(a.ema, b.ema);
}

/// Dropout, class labels, accumulation: whatever hangs on the step's inputs.
TrainConfig full_config(int steps, Device device, DType compute = DType::kFloat32) {
  gpu();
  TrainConfig c = tiny_config(steps);
  c.unet.dropout = 0.1f;
  c.unet.num_class_embeds = 4;
  c.batch_size = 2;
  c.gradient_accumulation_steps = 2;
  c.device = device;
  c.compute = compute;
  return c;
}

std::shared_ptr<Dataset> blobs() {
  return std::make_shared<Blobs>(3, 4);
}

Outcome train(const TrainConfig& config, const std::function<void(Trainer&)>& between = {}) {
  Trainer trainer(config, blobs());
  Outcome run;
  while (!trainer.finished()) {
    run.take(trainer.step());
    if (between) between(trainer);
  }
  run.take(trainer.flush());
  run.take_state(trainer);
  return run;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {  // |a - b| / |b|
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

TEST(CudaTraining, EqualsTheCpu) {
  // An update is m / (sqrt(v) + epsilon): with the usual 1e-8 it makes a whole step of a gradient's rounding
  // where the gradient is next to nothing. With 1e-3 runs stay as close as their gradients are.
  const auto config = [](Device device) {
    TrainConfig c = full_config(5, device);
    c.optimizer.epsilon = 1e-3;
    return c;
  };
  const Outcome cpu = train(config(Device::kCpu));
  const int recorded = gpu().recorded, launched = gpu().launched;
  const Outcome cuda = train(config(kEmulated));
  EXPECT_EQ(gpu().recorded - recorded, 1);
  EXPECT_EQ(gpu().launched - launched, 3);  // two steps to warm up
  ASSERT_EQ(cuda.metrics.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(cuda.metrics[i].loss, cpu.metrics[i].loss, 1e-5 * cpu.metrics[i].loss) << i;
    EXPECT_NEAR(cuda.metrics[i].grad_norm, cpu.metrics[i].grad_norm, 1e-5 * cpu.metrics[i].grad_norm) << i;
  }
  EXPECT_LE(distance(cuda.values, cpu.values), 1e-5);
  EXPECT_LE(distance(cuda.ema, cpu.ema), 1e-5);
  EXPECT_LE(distance(cuda.gradients, cpu.gradients), 1e-5);
}

TEST(CudaTraining, LearnsAVarianceAsTheCpuDoes) {
  const auto config = [](Device device, DType compute) {
    TrainConfig c = full_config(4, device, compute);
    c.scheduler.variance_type = "learned_range";
    c.scheduler.noise.num_train_timesteps = 4;  // some images are at t = 0
    c.unet.out_channels = 6;
    c.optimizer.epsilon = 1e-3;  // as above
    return c;
  };
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    const bool exact = compute == DType::kFloat32;
    const Outcome cpu = train(config(Device::kCpu, compute)), cuda = train(config(kEmulated, compute));
    for (size_t i = 0; i < 4; ++i)
      EXPECT_NEAR(cuda.metrics[i].loss, cpu.metrics[i].loss, (exact ? 1e-5 : 0.005) * cpu.metrics[i].loss)
          << i;
    EXPECT_LE(distance(cuda.gradients, cpu.gradients), exact ? 1e-5 : 0.03);
  }
}

TEST(CudaTraining, GradientsEqualTheCpus) {
  // Sums of a few hundred products in another order: a few 2^-24 in each of some twenty layers.
  EXPECT_LE(
      distance(train(full_config(1, kEmulated)).gradients, train(full_config(1, Device::kCpu)).gradients),
      1e-5);
}

TEST(CudaTraining, Bfloat16FollowsTheCpu) {
  const auto run = [](int steps, Device device) {
    return train(full_config(steps, device, DType::kBFloat16));
  };
  // Activations are rounded at 2^-9 each, at the same places but now and then to the other side: either
  // device's gradients are 1 % from those in float32. Later steps' are taken at weights that differ already.
  EXPECT_LE(distance(run(1, kEmulated).gradients, run(1, Device::kCpu).gradients), 0.02);
  const Outcome cpu = run(4, Device::kCpu), cuda = run(4, kEmulated);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(cuda.metrics[i].loss, cpu.metrics[i].loss, 0.005 * cpu.metrics[i].loss) << i;
}

TEST(CudaTraining, AGraphComputesTheSameBits) {
  for (const DType compute : {DType::kFloat32, DType::kBFloat16}) {
    TrainConfig c = full_config(6, kEmulated, compute);
    const Outcome graph = train(c);
    c.steps_in_flight = 1;  // no graph
    const int recorded = gpu().recorded;
    const Outcome single = train(c);
    EXPECT_EQ(gpu().recorded, recorded);
    expect_same_bits(graph, single);
  }
}

TEST(CudaTraining, APreviewBetweenStepsDisturbsNothing) {
  const TrainConfig c =
      full_config(5, kEmulated, DType::kBFloat16);  // whose weight copies a preview overwrites
  const Outcome undisturbed = train(c);
  const SamplingPlan plan = make_plan(c.scheduler, 2);
  std::vector<Tensor> kept;  // and memory that stays taken from one step to the next
  const Outcome disturbed = train(c, [&](Trainer& trainer) {
    const FlatParameters::Swap averaged(trainer.parameters(), trainer.result());
    SampleRequest request{.ids = {0, 1, 2}, .device = kEmulated, .activations = c.compute};
    request.class_labels = class_labels_tensor(c.unet, {0, 1, 2}, kEmulated);
    kept.push_back(sample(trainer.model(), plan, request));
  });
  expect_same_bits(disturbed, undisturbed);
}

TEST(CudaTraining, SteadyStateAllocatesNothing) {
  Trainer trainer(full_config(7, kEmulated), blobs());
  for (int i = 0; i < 3; ++i) trainer.step();
  const MemoryStats three = allocator_of(kEmulated).stats();
  while (!trainer.finished()) trainer.step();
  trainer.flush();
  const MemoryStats end = allocator_of(kEmulated).stats();
  EXPECT_EQ(end.device_allocations, three.device_allocations);
  EXPECT_EQ(end.bytes_in_use, three.bytes_in_use);
}

TEST(CudaTraining, GoesOnFromACheckpointWithTheSameBits) {
  const TempFolder folder;
  const TrainConfig c = full_config(8, kEmulated, DType::kBFloat16);
  const Outcome whole = train(c);
  Outcome parts;
  {
    Trainer trainer(c, blobs());
    for (int i = 0; i < 4; ++i) parts.take(trainer.step());
    parts.take(trainer.flush());
    trainer.save_checkpoint(folder / "checkpoint-4");
  }
  Trainer trainer(c, blobs());
  trainer.load_checkpoint(folder / "checkpoint-4");
  while (!trainer.finished()) parts.take(trainer.step());
  parts.take(trainer.flush());
  parts.take_state(trainer);
  expect_same_bits(parts, whole);
}

TEST(CudaTraining, SaysWhereNumbersWentWrong) {
  TrainConfig c = full_config(40, kEmulated);
  c.learning_rate = 1e30;  // the second step sees weights far beyond what can be multiplied
  try {
    train(c);
    FAIL() << "nothing was said";
  } catch (const NonFiniteError& e) {
    EXPECT_NE(std::string(e.what()).find("step 2: "), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("in layer "), std::string::npos) << e.what();
  }
}

TEST(CudaTraining, OutOfMemoryIsOneLine) {
  TrainConfig c = full_config(1, kEmulated);
  c.height = c.width = 1024;
  c.batch_size = 64;  // their float32 copies alone are 768 MiB
  c.gradient_accumulation_steps = 1;
  try {
    train(c);
    FAIL() << "it fitted";
  } catch (const Error& e) {
    const std::string line = e.what();
    EXPECT_EQ(e.fault, Fault::kFailure);
    for (const char* part : {"out of memory on cuda_on_cpu: asked for ", " in use and ", " of 512 MiB free",
                             "a smaller batch or resolution"})
      EXPECT_NE(line.find(part), std::string::npos) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST(CudaSampling, EqualsTheCpuFromTheSameNoise) {
  gpu();
  const TrainConfig c = tiny_config(1);
  for (const auto kind : {SchedulerConfig::Kind::kDdpm, SchedulerConfig::Kind::kDdim}) {
    SchedulerConfig scheduler = c.scheduler;
    scheduler.kind = kind;
    const auto images = [&](Device device) {
      UNet unet(c.unet);
      FlatParameters parameters(unet, {.device = device, .gradients = false});
      parameters.initialize(3);
      SampleRequest request{.ids = {5, 6, 7}, .seed = 11, .batch_size = 2, .device = device};
      return to_vector<float>(sample(
          unet, make_plan(scheduler, 6, {.eta = kind == SchedulerConfig::Kind::kDdim ? 0.5 : 0.0}), request));
    };
    const int recorded = gpu().recorded, launched = gpu().launched;
    EXPECT_LE(distance(images(kEmulated), images(Device::kCpu)), 1e-5);
    EXPECT_EQ(gpu().recorded - recorded, 2);  // the network, for each of the two batches
    EXPECT_EQ(gpu().launched - launched, 2 * 4);
  }
}

// History in a ring, two networks (with and without classes), inputs of another scale: all in place,
// replayed.
TEST(CudaSampling, GuidedMultistepEqualsTheCpu) {
  gpu();
  UNetConfig config = tiny_config(1).unet;
  config.num_class_embeds = 4;
  config.imago_null_class = 3;
  for (const auto kind : {SchedulerConfig::Kind::kUniPc, SchedulerConfig::Kind::kHeun}) {
    const auto images = [&](Device device) {
      UNet unet(config);
      FlatParameters parameters(unet, {.device = device, .gradients = false});
      parameters.initialize(3);
      SampleRequest request{.ids = {5, 6, 7}, .seed = 11, .batch_size = 2, .device = device};
      request.class_labels = class_labels_tensor(config, {0, 1, 2}, device);
      request.guidance = {.scale = 2, .low = 0.1, .high = 10};  // off, on, off
      return to_vector<float>(sample(unet, make_plan(defaults_of(kind), 8), request));
    };
    const std::vector<float> emulated = images(kEmulated);
    EXPECT_LE(distance(emulated, images(Device::kCpu)), 1e-4) << name_of(kind);
    EXPECT_EQ(images(kEmulated), emulated);
  }
}

}  // namespace
}  // namespace imago::test
