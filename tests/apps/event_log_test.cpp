// TensorBoard's event files: a run writes one unless told otherwise, and one more each time it goes on.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/apps/tiny_run.h"

namespace imago::test {
namespace {

namespace fs = std::filesystem;

class EventLogTest : public ::testing::Test {
 protected:
  void train(int steps, const Arguments& more) {
    const Finished f = run_program("train_ddpm", tiny_.train("run", steps, more));
    EXPECT_EQ(f.code, 0) << f.err;
  }
  std::vector<fs::path> event_files(const char* folder = "logs") const {
    std::vector<fs::path> files;
    const fs::path all = tiny_.path("run") / folder / "train_unconditional";
    if (fs::exists(all))
      for (const fs::directory_entry& e : fs::directory_iterator(all)) files.push_back(e.path());
    std::sort(files.begin(), files.end());
    return files;
  }
  TinyRun tiny_;
};

TEST_F(EventLogTest, HoldsTheCurvesAndSamplesOfTheRun) {
  train(2, {});
  ASSERT_EQ(event_files().size(), 1u);
  const std::string events = get(event_files()[0]);
  for (const char* tag : {"loss", "lr", "ema_decay", "grad_norm", "test_samples", "\x89PNG"})
    EXPECT_NE(events.find(tag), events.npos) << tag;
}

TEST_F(EventLogTest, AResumedRunAddsAFileAndANewOneRemovesThem) {
  train(2, {"--checkpointing_steps", "1"});
  train(3, {"--resume_from_checkpoint", "latest"});
  EXPECT_EQ(event_files().size(), 2u);
  put(tiny_.path("run") / "logs/train_unconditional/notes.txt", "kept");
  train(2, {"--overwrite_output_dir", "--logger", "none"});
  ASSERT_EQ(event_files().size(), 1u);
  EXPECT_EQ(event_files()[0].filename(), "notes.txt");
}

TEST_F(EventLogTest, GoesWhereItIsTold) {
  train(1, {"--logging_dir", "curves"});
  EXPECT_EQ(event_files("curves").size(), 1u);
  EXPECT_TRUE(event_files().empty());
}

}  // namespace
}  // namespace imago::test
