// The cost model against the launchers themselves: a whole training step runs on the plan device and,
// operation by operation, is captured on emulated GPUs, where nothing runs. Both must make the same
// launches of as many blocks.
#include <gtest/gtest.h>

#include "kernels/cuda/runtime/cuda_backend.h"
#include "kernels/plan/plan_backend.h"
#include "lab/cost_model/cost_model.h"
#include "models/trainer/training_step.h"
#include "tests/lab/cost_model/cifar10_unet.h"

namespace imago {
namespace {

struct Grid {
  int64_t blocks;
  int threads;
  bool operator==(const Grid&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Grid& g) {
  return out << g.blocks << " blocks of " << g.threads;
}

/// Our launchers on a GPU of any size. The plan device's addresses pass for memory that a kernel may touch.
class CapturingGpu : public cuda_on_cpu::CudaBackend {
 public:
  explicit CapturingGpu(const tiling::GpuLimits& limits) {
    static_cast<tiling::GpuLimits&>(gpu_) = limits;
    cuda_on_cpu::cudaHostRegister(reinterpret_cast<void*>(uintptr_t{1} << 46), size_t{1} << 45, 0);
  }
  template <class Call>
  std::vector<Grid> capture(const Call& call) {
    using namespace cuda_on_cpu;
    cudaGraph_t graph;
    IMAGO_CUDA(cudaStreamBeginCapture(gpu_.stream, cudaStreamCaptureModeThreadLocal));
    call(static_cast<Backend&>(*this));
    IMAGO_CUDA(cudaStreamEndCapture(gpu_.stream, &graph));
    size_t count = 0;
    IMAGO_CUDA(cudaGraphGetNodes(graph, nullptr, &count));
    std::vector<cudaGraphNode_t> nodes(count);
    IMAGO_CUDA(cudaGraphGetNodes(graph, nodes.data(), &count));
    std::vector<Grid> grids;
    for (cudaGraphNode_t node : nodes) {
      cudaKernelNodeParams p;
      IMAGO_CUDA(cudaGraphKernelNodeGetParams(node, &p));
      grids.push_back({int64_t{p.gridDim.x} * p.gridDim.y * p.gridDim.z, static_cast<int>(p.blockDim.x)});
    }
    cudaGraphDestroy(graph);
    return grids;
  }
};

/// The plan device, with a GPU beside it.
class BothWays : public WatchedBackend {
 public:
  explicit BothWays(const GpuModel& model)
      : WatchedBackend(plan_backend()), model_(model), gpu_(model.limits) {}
  int launches = 0;

 private:
  void watch(const Operation& o, const Call& call) override {
    reset_plan_counts();
    call(inner());
    const PlanCount& work = plan_counts().total;
    const std::string name = o.name;
    if (name == "fill" || name == "copy") return;  // the driver's own, mostly
    std::vector<Grid> expected;
    for (const Launch& l : launches_of(model_, {o, work.flops, work.bytes}))
      expected.push_back({l.blocks, l.threads});
    EXPECT_EQ(gpu_.capture(call), expected) << name << " " << o.shapes() << " in " << o.layer;
    launches += static_cast<int>(expected.size());
  }

  const GpuModel& model_;
  CapturingGpu gpu_;
};

int launches_of_a_step(const std::string& gpu, const TrainConfig& config) {
  BothWays both(gpu_model(gpu));
  TrainConfig on_plan = config;
  on_plan.device = Device::kPlan;
  TrainingStep step(on_plan);
  register_backend(Device::kPlan, both);
  step.begin(config.learning_rate);
  step.compute_gradients();
  step.update();
  register_backend(Device::kPlan, plan_backend());
  return both.launches;
}

TEST(CostLaunches, AreThoseOfTheLaunchersForCifar10OnEveryGpu) {
  EXPECT_GT(launches_of_a_step("h100", test::cifar10_training(128)), 670);
  for (const char* gpu : {"a100", "4090", "5090"}) launches_of_a_step(gpu, test::cifar10_training(128));
}

TEST(CostLaunches, OfFewImages) {  // GroupNorm in chunks, other tiles
  launches_of_a_step("h100", test::cifar10_training(3));
}

TEST(CostLaunches, InFloat32) {
  TrainConfig c = test::cifar10_training(16);
  c.compute = DType::kFloat32;
  launches_of_a_step("h100", c);
}

TEST(CostLaunches,
     OfOddNetworks) {  // heads of 8, scale and shift, dropout, channels that are no multiples of 64
  TrainConfig c = test::cifar10_training(5);
  c.unet.block_out_channels = {32, 48, 96, 112};
  c.unet.norm_num_groups = 16;
  c.unet.attention_head_dim = 8;
  c.unet.resnet_time_scale_shift = "scale_shift";
  c.unet.dropout = 0.1;
  c.unet.num_class_embeds = 10;
  launches_of_a_step("h100", c);
}

}  // namespace
}  // namespace imago
