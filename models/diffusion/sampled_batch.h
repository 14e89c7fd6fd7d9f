// The images of one batch on their way from noise to the end.
#pragma once

#include <functional>

#include "engine/tensor/captured_graph.h"
#include "models/diffusion/sampler.h"
#include "models/diffusion/streams.h"

namespace imago {

/// What the network computes in, for each way in which it is asked.
struct SamplingMemory {
  MemoryPool plain, guided;
  explicit SamplingMemory(Device device) : plain(device), guided(device) {}
};

/// The network is the same work in every step, and a captured graph: its input, times and output stay in
/// place. An update is one launch, which also writes the network's next input.
class SampledBatch {
 public:
  /// Images first .. first + count - 1 of the request, whose x lies in their rows of `result` [N,H,W,C].
  SampledBatch(UNet& model, const SamplingPlan& plan, const SampleRequest& request,
               const SamplingMemory& memory, const Tensor& result, int64_t first, int64_t count);
  /// How often the network will be asked.
  int64_t evaluations() const;
  /// All of it; `evaluated` is called behind each evaluation.
  void run(const std::function<void()>& evaluated);

 private:
  void start();
  void step(int i, int visit);
  void go_back(int i, int visit);
  bool guided(int i) const;
  NoiseLevel level(int i) const;  // of x before step i
  void write_input(int i);
  Tensor predict(int i);
  void add_known(const PlannedStep& step, SamplerTensors& tensors, SamplerStep& update) const;
  Tensor rows_of(const Tensor& all) const;
  RandomKey key(DiffusionPurpose purpose, int index) const;
  void watch(const NoiseLevel& at) const;

  UNet& model_;
  const SamplingPlan& plan_;
  const SampleRequest& request_;
  int64_t first_, count_;
  bool ever_guided_ = false;
  Tensor x_, ids_, known_, mask_;  // x [B,H,W,C], ids [B]
  std::vector<Tensor> history_;    // a ring of [B,H,W,C]
  int entries_ = 0;                // written into it
  // Of the network, in place from step to step: [B,...], or [2B,...] where there is guidance.
  Tensor input_, times_, labels_;
  struct Network {
    CapturedGraph graph;
    Tensor output = {};
  };
  Network plain_, both_;  // on B images; on 2B, with and without their class
  Tensor output_;         // of the last evaluation
};

}  // namespace imago
