// Tells garments apart: a small convolutional network from the engine's own layers, on Fashion-MNIST.
//   classify /usr/share/datasets/fashion-mnist
#include <algorithm>
#include <cstdio>

#include "engine/data/loader.h"
#include "engine/nn/conv2d.h"
#include "engine/nn/linear.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/loss.h"
#include "engine/ops/resample.h"
#include "engine/optim/adamw.h"
using namespace imago;
constexpr int kBatch = 100;  // images a step

struct Classifier : Module {
  Conv2d conv1{1, 16, 3}, conv2{16, 32, 3};
  Linear out{7 * 7 * 32, 10};
  Classifier() { add("conv1", conv1), add("conv2", conv2), add("out", out); }
  Tensor forward(const Tensor& images) {                                // [N,28,28,1] uint8
    const Tensor x = scale(cast(images, DType::kFloat32), 1 / 255.0f);  // [N,28,28,1]
    const Tensor h = avg_pool2x(silu(conv1.forward(x)));                // [N,14,14,16]
    const Tensor g = avg_pool2x(silu(conv2.forward(h)));                // [N,7,7,32]
    return out.forward(reshape(g, {g.dim(0), 7 * 7 * 32}));             // [N,10]
  }
};

int main(int argc, char** argv) try {
  if (argc != 2) bad_input("usage: classify FOLDER");
  const Device device = parse_device("auto");
  std::vector<uint8_t> pixels(kBatch * 28 * 28);  // the loader writes into these
  std::vector<int32_t> labels(kBatch);
  std::vector<int64_t> ids(kBatch);
  const LoaderOptions options{.batch_size = kBatch, .height = 28, .width = 28, .channels = 1};
  BatchLoader train(open_dataset(argv[1]), options, {{pixels, ids, labels}});
  BatchLoader test(open_dataset(argv[1], {.split = "test"}), options, {{pixels, ids, labels}});
  const auto images = [&] { return from_vector(pixels, {kBatch, 28, 28, 1}, device); };
  Classifier model;
  FlatParameters parameters(model, {.device = device});
  parameters.initialize(/*seed=*/0);
  AdamW optimizer(parameters, {.beta1 = 0.9});
  const Tensor mean = from_vector(std::vector<float>(kBatch, 1.0f / kBatch), {kBatch}, device);  // [N]
  for (int64_t b = 0; b < train.batches_per_epoch(); ++b) {
    train.next(), parameters.zero_gradients();
    backward(cross_entropy(model.forward(images()), from_vector(labels, {kBatch}, device)), mean);
    optimizer.step(/*learning_rate=*/2e-3);
  }
  int64_t right = 0, total = test.batches_per_epoch() * kBatch;
  for (int64_t b = 0; b < test.batches_per_epoch(); ++b) {
    const NoGrad no_grad;
    test.next();
    const auto logits = to_vector<float>(model.forward(images()));  // [N,10]
    const float* row = logits.data();
    for (int n = 0; n < kBatch; ++n, row += 10) right += row[labels[n]] == *std::max_element(row, row + 10);
  }
  std::printf("accuracy %.1f %%\n", 1e2 * right / total);
} catch (const Error& e) {
  return std::fprintf(stderr, "classify: %s\n", e.what()), e.fault == Fault::kBadInput ? 2 : 1;
}
