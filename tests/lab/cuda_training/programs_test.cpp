// The programs themselves with --device cuda, on the emulated GPU: from images to a model to images.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <set>

#include "engine/io/safetensors.h"
#include "models/trainer/checkpoint.h"
#include "tests/apps/tiny_run.h"

namespace imago::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTrain = "train_ddpm_emulated";
constexpr const char* kSample = "sample_ddpm_emulated";

Arguments on_cuda(Arguments a, const Arguments& more = {}) {
  a.insert(a.end(), {"--device", "cuda"});
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

/// A training that is killed after its first checkpoint and resumed, beside one that is not.
void expect_same_bits_after_a_kill(const TinyRun& tiny) {
  const Arguments how = {"--mixed_precision", "bf16", "--checkpointing_steps", "2", "--preview_steps", "3"};
  {
    Program killed(kTrain, on_cuda(tiny.train("parts", 6, how)));
    while (killed.running() && list_checkpoints(tiny.path("parts")).empty()) usleep(1000);
    killed.signal(SIGKILL);
    killed.wait();
  }
  const Finished rest =
      run_program(kTrain, on_cuda(tiny.train("parts", 6, how), {"--resume_from_checkpoint", "latest"}));
  ASSERT_EQ(rest.code, 0) << rest.err;
  const Finished whole = run_program(kTrain, on_cuda(tiny.train("whole", 6, how)));
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(result_of_run(tiny.path("parts"), 6), result_of_run(tiny.path("whole"), 6));
}

TEST(CudaPrograms, TrainingKilledAndResumedEndsInTheSameBits) {
  expect_same_bits_after_a_kill(TinyRun());
}

// What the killed program has measured is kept: the other two measure what is left, and that only.
TEST(CudaPrograms, TrainingKilledAndResumedEndsInTheSameBitsWithMeasuredKernels) {
  const TinyRun tiny;
  setenv("IMAGO_AUTOTUNE", "on", 1);
  setenv("IMAGO_CACHE_DIR", tiny.path("cache").c_str(), 1);
  expect_same_bits_after_a_kill(tiny);
  unsetenv("IMAGO_AUTOTUNE");
  unsetenv("IMAGO_CACHE_DIR");

  std::set<std::string> keys;
  ASSERT_TRUE(fs::exists(tiny.path("cache")));
  for (const fs::directory_entry& entry : fs::directory_iterator(tiny.path("cache"))) {
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);)
      EXPECT_TRUE(keys.insert(line.substr(0, line.find(" -> "))).second) << "measured twice: " << line;
  }
  EXPECT_GT(keys.size(), 10u);
}

TEST(CudaPrograms, SamplesAreTheSameInEveryBatchAndNextToTheCpus) {
  const TinyRun tiny;
  const Finished trained = run_program("train_ddpm", tiny.train("model", 2));
  ASSERT_EQ(trained.code, 0) << trained.err;
  const auto sampled = [&](const char* device, const char* batch_size) {
    const std::string file = tiny.path("samples.safetensors").string();
    const Finished f = run_program(
        kSample, {"--model", tiny.path("model").string(), "--num_images", "3", "--num_inference_steps", "5",
                  "--seed", "11", "--batch_size", batch_size, "--device", device, "--save_tensors", file,
                  "--output", tiny.path("grid.png").string()});
    EXPECT_EQ(f.code, 0) << f.err;
    return SafetensorsFile(file).read_as_float32("samples");
  };
  const std::vector<float> one = sampled("cuda", "1"), two = sampled("cuda", "2"), cpu = sampled("cpu", "2");
  EXPECT_EQ(one, two);
  ASSERT_EQ(cpu.size(), one.size());
  for (size_t i = 0; i < cpu.size(); ++i) ASSERT_NEAR(one[i], cpu[i], 1e-4) << i;
}

}  // namespace
}  // namespace imago::test
