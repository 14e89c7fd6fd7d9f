// Training killed at any moment, stopped by a signal or by a full disk, and resumed ends in the same bits as
// training that never was.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <functional>
#include <random>

#include "models/trainer/checkpoint.h"
#include "tests/apps/tiny_run.h"

namespace imago::test {
namespace {

namespace fs = std::filesystem;
using Condition = std::function<bool(const Program&)>;

constexpr int kSteps = 16, kEvery = 4;  // checkpoints

int lines_of(const fs::path& file) {
  const std::string text = get(file);
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

/// Whether the program is writing a file or folder of this name: its temporary is called NAME.tmp-PID-NUMBER.
bool being_written(const fs::path& folder, const std::string& name, pid_t pid) {
  const std::string temporary = str(name, ".tmp-", pid, "-");
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().rfind(temporary, 0) == 0) return true;
  }
  return false;
}

/// Starts the program and sends it the signal when the condition holds (or it has ended).
Finished interrupt_when(const Arguments& arguments, int signal, const Condition& condition) {
  Program program("train_ddpm", arguments);
  while (program.running() && !condition(program)) usleep(100);
  program.signal(signal);
  return program.wait();
}

Arguments with(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

class ResumeTest : public ::testing::Test {
 protected:
  /// What a run with these options comes to when nothing happens to it.
  std::string uninterrupted(const Arguments& more) {
    const Finished f = run_program("train_ddpm", tiny_.train("whole", kSteps, with(kCheckpoints, more)));
    EXPECT_EQ(f.code, 0) << f.err;
    return result_of_run(tiny_.path("whole"), kSteps);
  }
  Arguments resuming(const Arguments& more) const {
    return tiny_.train("killed", kSteps,
                       with(with(kCheckpoints, {"--resume_from_checkpoint", "latest"}), more));
  }
  fs::path output() const { return tiny_.path("killed"); }
  Condition rows(int n) const {
    return [this, n](const Program&) { return lines_of(output() / "metrics.jsonl") >= n; };
  }
  Condition writing(const std::string& name) const {
    return [this, name](const Program& program) { return being_written(output(), name, program.pid()); };
  }
  void finish_and_compare(const Arguments& more, const std::string& expected) {
    const Finished f = run_program("train_ddpm", resuming(more));
    EXPECT_EQ(f.code, 0) << f.err;
    EXPECT_TRUE(result_of_run(output(), kSteps) == expected) << "the resumed run differs";
    for (const auto& e : fs::recursive_directory_iterator(output()))
      EXPECT_EQ(e.path().string().find(".tmp-"), std::string::npos) << e.path() << " was left behind";
  }

  /// Kills at moments of every kind: in a step, while a checkpoint, an image or the model is written, at the
  /// start.
  void survives_kills(const Arguments& more, unsigned seed) {
    const std::string expected = uninterrupted(more);
    std::mt19937 random(seed);
    const auto draw = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
    const std::vector<Condition> moments = {
        rows(draw(1, kEvery - 1)),                           // before the first checkpoint
        [](const Program&) { return usleep(20000), true; },  // while it starts
        writing("checkpoint-4"),                             // in the middle of a checkpoint
        rows(draw(kEvery + 1, 2 * kEvery - 1)),              // in a step
        writing("checkpoint-8"),
        rows(draw(2 * kEvery + 1, 3 * kEvery - 1)),
        rows(kSteps),     // all steps done, the model not written
        writing("unet"),  // in the middle of the model
    };
    int kills = 0;
    for (const Condition& moment : moments) {
      const Finished f = interrupt_when(resuming(more), SIGKILL, moment);
      EXPECT_TRUE(f.killed || f.code == 0) << f.err;
      kills += f.killed;
      // Whatever is called a checkpoint is complete.
      for (const CheckpointEntry& c : list_checkpoints(output()))
        EXPECT_TRUE(fs::exists(c.path / "trainer_state.json"));
    }
    EXPECT_GE(kills, 5) << "most kills came too late to test anything";
    finish_and_compare(more, expected);
  }

  const Arguments kCheckpoints = {"--checkpointing_steps", std::to_string(kEvery)};
  TinyRun tiny_;
};

TEST_F(ResumeTest, SurvivesKillsInFloat32) {
  survives_kills({}, 1);
}

TEST_F(ResumeTest, SurvivesKillsInBfloat16WithAccumulation) {
  survives_kills({"--mixed_precision", "bf16", "--gradient_accumulation_steps", "2", "--random_flip"}, 2);
}

TEST_F(ResumeTest, SurvivesKillsInFloat32WithAccumulationAndWorkers) {
  survives_kills(
      {"--gradient_accumulation_steps", "3", "--dataloader_num_workers", "2", "--gradient_checkpointing"}, 3);
}

TEST_F(ResumeTest, SurvivesKillsWithALearnedVariance) {
  survives_kills({"--variance_type", "learned_range", "--mixed_precision", "bf16"}, 4);
}

TEST_F(ResumeTest, ASignalEndsTheStepAndWritesACheckpoint) {
  const std::string expected = uninterrupted({});
  for (const auto& [signal, code, at] : {std::tuple{SIGINT, 130, 2}, std::tuple{SIGTERM, 143, 6}}) {
    const Finished f = interrupt_when(resuming({}), signal, rows(at));
    EXPECT_EQ(f.code, code) << f.err;
    EXPECT_FALSE(f.killed);
    EXPECT_NE(f.err.find("--resume_from_checkpoint latest"), std::string::npos) << f.err;
    const auto checkpoints = list_checkpoints(output());
    ASSERT_FALSE(checkpoints.empty());
    EXPECT_GE(checkpoints.back().step, at);
    EXPECT_EQ(checkpoints.back().step, lines_of(output() / "metrics.jsonl"));
  }
  finish_and_compare({}, expected);
}

TEST_F(ResumeTest, ASecondSignalEndsItAtOnce) {
  // Steps of a second or so: the second signal comes long before the first one's checkpoint.
  Program program("train_ddpm", tiny_.train("killed", 1000000, {"--gradient_accumulation_steps", "200"}));
  while (program.running() && lines_of(output() / "metrics.jsonl") < 1) usleep(200);
  program.signal(SIGSTOP);  // so that both signals are there when it goes on
  program.signal(SIGINT);
  program.signal(SIGTERM);
  program.signal(SIGCONT);
  const Finished f = program.wait();
  EXPECT_FALSE(f.killed);
  EXPECT_TRUE(f.code == 130 || f.code == 143) << f.code;
  EXPECT_TRUE(list_checkpoints(output()).empty());
}

TEST_F(ResumeTest, AFullDiskLeavesTheLastCheckpoint) {
  const std::string expected = uninterrupted({});
  interrupt_when(resuming({}), SIGTERM, rows(kEvery + 1));
  const int64_t last = list_checkpoints(output()).back().step;
  const std::string before = result_of_run(output() / str("checkpoint-", last), -1);
  constexpr uint64_t kFull = 64 << 10;  // bytes: the weights alone are 180 KB
  const Finished f = run_program("train_ddpm", resuming({}), kFull);
  EXPECT_EQ(f.code, 1) << f.err;
  EXPECT_FALSE(f.killed);
  EXPECT_NE(f.err.find("cannot write"), std::string::npos) << f.err;
  EXPECT_NE(f.err.find(str("the last checkpoint is ", (output() / str("checkpoint-", last)).string())),
            std::string::npos)
      << f.err;
  EXPECT_EQ(list_checkpoints(output()).back().step, last);
  EXPECT_TRUE(result_of_run(output() / str("checkpoint-", last), -1) == before);
  finish_and_compare({}, expected);
}

TEST_F(ResumeTest, KeepsOnlyTheNewestCheckpoints) {
  ASSERT_EQ(
      run_program("train_ddpm",
                  tiny_.train("killed", 10, {"--checkpointing_steps", "3", "--checkpoints_total_limit", "2"}))
          .code,
      0);
  const auto checkpoints = list_checkpoints(output());
  ASSERT_EQ(checkpoints.size(), 2u);
  EXPECT_EQ(checkpoints[0].step, 6);
  EXPECT_EQ(checkpoints[1].step, 9);
}

TEST_F(ResumeTest, GoesOnInAnotherFolder) {
  const std::string expected = uninterrupted({});
  const std::string from = (tiny_.path("whole") / "checkpoint-8").string();
  const Finished f = run_program(
      "train_ddpm", tiny_.train("other", kSteps, with(kCheckpoints, {"--resume_from_checkpoint", from})));
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_TRUE(result_of_run(tiny_.path("other"), kSteps) == expected);
}

TEST_F(ResumeTest, SaysWhatIsDifferentNow) {
  interrupt_when(resuming({}), SIGTERM, rows(2));
  const Finished f = run_program("train_ddpm", resuming({"--learning_rate", "0.5", "--seed", "9"}));
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.err.find("learning_rate 0.001, now it is 0.5"), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("seed 7, now it is 9"), std::string::npos) << f.err;
}

TEST_F(ResumeTest, LatestWithNothingThereStartsAnew) {
  const Finished f = run_program("train_ddpm", tiny_.train("new", 2, {"--resume_from_checkpoint", "latest"}));
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.err.find("no checkpoint yet"), std::string::npos) << f.err;
  EXPECT_EQ(lines_of(tiny_.path("new") / "metrics.jsonl"), 2);
}

}  // namespace
}  // namespace imago::test
