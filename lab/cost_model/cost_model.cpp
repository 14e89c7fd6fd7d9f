#include "lab/cost_model/cost_model.h"

#include <algorithm>
#include <string_view>

#include "kernels/cuda/convolution/conv2d_tiling.h"
#include "kernels/cuda/device/flat_tiling.h"

namespace imago {

using namespace tiling;

namespace {

struct Grid {
  int64_t blocks;
  int threads = kFlatThreads;
};

/// How the launchers of elementwise.cu, resample.cu, pooling.cu, embedding.cu, diffusion.cu and
/// hybrid_loss.cu cut their tensors.
Grid grid_of(const Operation& o) {
  const Shape& s = o.x.a.shape;
  const std::string_view name = o.name;
  if (name == "upsample2x") return {2 * s[0] * s[1]};  // a block a row of y
  if (name == "sum_pool2x") return {s[0] * s[1] / 2};
  for (const char* pool : {"avg_pool", "avg_pool_backward", "max_pool"})
    if (name == pool) return {s[0] * s[1]};  // a block a row of what is written
  for (const char* block_an_image : {"mse_loss", "hybrid_loss", "hybrid_loss_backward"})
    if (name == block_an_image) return {s[0]};
  if (name == "sinusoid" || name == "embedding") return {s[0], kEmbeddingThreads};
  if (name == "embedding_backward") return {ceil_div(s[1], kEmbeddingThreads), kEmbeddingThreads};
  for (const char* quads : {"dropout", "normal", "q_sample", "mse_loss_backward", "sampler_step"})
    if (name == quads) return {ceil_div(s[0] * ceil_div(s.numel() / s[0], 4), kFlatThreads)};
  return {ceil_div(s.numel(), (name == "adamw" ? kUpdateElements : kFlatElements) * kFlatThreads)};
}

/// A pass over memory; a thread has all its elements on their way at once.
Launch flat_launch(const GpuModel& gpu, const RecordedOperation& o) {
  const Grid grid = grid_of(o.operation);
  Launch k;
  k.name = o.operation.name;
  k.blocks = grid.blocks;
  k.threads = grid.threads;
  k.resident = gpu.threads_per_sm / k.threads;
  k.memory_bytes = k.useful_bytes = k.l2_bytes = static_cast<double>(o.bytes);
  k.in_flight = k.memory_bytes / static_cast<double>(k.blocks);
  return k;
}

std::vector<Launch> per_image_bias_grad_launches(const GpuModel& gpu, const RecordedOperation& o) {
  const ConstTensorRef& dy = o.operation.x.a;
  const int64_t images = dy.shape[0], channels = dy.shape[-1], pixels = dy.numel() / (images * channels);
  const BiasSlabs cut(gpu.limits, images, pixels, channels);
  const double partial = double(images * cut.slabs * channels) * sizeof(float);
  Launch slabs;
  slabs.name = "per_image_bias_grad sum_slabs";
  slabs.blocks = cut.slabs * cut.groups * images;
  slabs.resident = 4;  // its launch bound
  slabs.memory_bytes = slabs.useful_bytes = static_cast<double>(o.bytes);
  slabs.l2_bytes = slabs.memory_bytes + partial;
  slabs.in_flight = slabs.threads * 16.0 * assumed::kUnroll *
                    std::min(1.0, double(channels) / BiasSlabs::kChannels);  // lanes without channels idle
  Launch each;
  each.name = "per_image_bias_grad sum_images";
  each.blocks = ceil_div(channels, kFlatThreads) * images;
  each.resident = gpu.threads_per_sm / each.threads;
  each.l2_bytes = partial;
  return {slabs, each};
}

std::vector<Launch> norm_launches(const GpuModel& gpu, const RecordedOperation& o) {
  Launch k = flat_launch(gpu, o);
  k.blocks = std::clamp<int64_t>(ceil_div(o.operation.x.a.numel(), kFlatThreads), 1, kNormPieces);
  k.in_flight = k.threads * sizeof(float) * assumed::kUnroll;
  // The last block sums the pieces.
  k.serial_cycles = cycles(gpu, gpu.l2_latency) * kNormPieces / (kFlatThreads * assumed::kUnroll);
  return {k};
}

}  // namespace

std::vector<Launch> launches_of(const GpuModel& gpu, const RecordedOperation& o) {
  const std::string_view name = o.operation.name;
  if (o.operation.x.a.numel() == 0) return {};
  if (name.starts_with("conv2d")) return conv2d_launches(gpu, o);
  if (name.starts_with("attention")) return attention_launches(gpu, o);
  if (name.starts_with("group_norm")) return group_norm_launches(gpu, o);
  if (name == "per_image_bias_grad") return per_image_bias_grad_launches(gpu, o);
  if (name == "norm") return norm_launches(gpu, o);
  return {flat_launch(gpu, o)};
}

double OperationCost::seconds() const {
  double sum = 0;
  for (const LaunchCost& k : launches) sum += k.time.total();
  return sum;
}

std::vector<OperationCost> cost_of(const GpuModel& gpu, const std::vector<RecordedOperation>& operations) {
  std::vector<OperationCost> costs;
  for (const RecordedOperation& o : operations) {
    OperationCost cost{o, {}};
    for (Launch& k : launches_of(gpu, o)) {
      const LaunchTime time = time_of(gpu, k);
      cost.launches.push_back({std::move(k), time});
    }
    costs.push_back(std::move(cost));
  }
  return costs;
}

}  // namespace imago
