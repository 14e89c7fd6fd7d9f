// The models beside the U-Net on the CUDA kernels, in emulation: equal to the CPU.
#include <gtest/gtest.h>

#include "models/inception/inception.h"
#include "models/resnet/classifier.h"
#include "models/resnet/training.h"
#include "tests/models/golden.h"
#include "tests/support/striped_images.h"

namespace imago::test {
namespace {

/// A device that no other test of this program uses.
Device gpu() {
  register_backend(Device::kCuda, cuda_on_cpu_backend());
  return Device::kCuda;
}

struct Trained {
  std::vector<float> losses;
  double accuracy;
};

/// A few steps, and what the classifier then says of other images.
Trained train(Device device) {
  ClassifierTrainConfig c;
  c.model.sample_size = 8;
  c.model.in_channels = 1;
  c.model.block_out_channels = {8, 16};
  c.model.norm_num_groups = 4;
  c.model.class_names = {"rows", "columns"};
  c.batch_size = 8;
  c.max_train_steps = 8;
  c.learning_rate = 1e-2;
  c.lr_warmup_steps = 0;
  c.optimizer.epsilon = 1e-3;  // tiny gradients do not decide the sign of a step
  c.device = device;
  ClassifierTraining training(c, std::make_shared<Stripes>(64));
  Trained t;
  while (!training.finished()) t.losses.push_back(training.step().loss);
  t.accuracy =
      evaluate_classifier(training.model(), device, std::make_shared<Stripes>(16, 8, 500)).accuracy();
  return t;
}

TEST(OtherModelsOnCuda, AClassifierIsTrainedAsOnTheCpu) {
  const Trained cpu = train(Device::kCpu), cuda = train(gpu());
  for (size_t i = 0; i < cpu.losses.size(); ++i)
    EXPECT_NEAR(cuda.losses[i], cpu.losses[i], 1e-4 * cpu.losses[i]) << "step " << i + 1;
  EXPECT_LT(cuda.losses.back(), 0.8f * cuda.losses.front());
  EXPECT_NEAR(cuda.accuracy, cpu.accuracy, 1.0 / 16);
}

TEST(OtherModelsOnCuda, InceptionsFeaturesAreThoseOfTheCpu) {
  const auto features = [](Device device) {
    const InceptionV3 network(golden::folder() / "inception_narrow.safetensors", device, /*narrow=*/16);
    const Shape shape{1, 75, 83, 3};
    const std::vector<double> u = golden::uniform("image", shape.numel());
    return to_vector<float>(
        network.features(from_vector(std::vector<float>(u.begin(), u.end()), shape, device)));
  };
  EXPECT_LT(golden::relative_error(features(gpu()), features(Device::kCpu)), 1e-5);
}

}  // namespace
}  // namespace imago::test
