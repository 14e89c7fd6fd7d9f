// Files and folders appear whole or not at all: overwriting, giving up, failing disks, killed programs.
#include "engine/io/atomic_file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using test::expect_bad_input;
using test::expect_error;
using test::get;
using test::put;
using test::TempFolder;
using Names = std::vector<std::string>;
namespace fs = std::filesystem;

TEST(ReadFile, ReturnsEveryByte) {
  TempFolder folder;
  std::string content;
  for (int i = 0; i < 300'000; ++i) content.push_back(static_cast<char>(i * 7));
  put(folder / "a", content);
  EXPECT_EQ(read_file(folder / "a"), content);
  put(folder / "empty", "");
  EXPECT_EQ(read_file(folder / "empty"), "");
  EXPECT_EQ(read_file("/proc/self/comm").empty(), false);  // a file whose size is said to be 0
}

TEST(ReadFile, NamesWhatItCannotRead) {
  TempFolder folder;
  expect_bad_input({(folder / "none").string(), "cannot read", "No such file"},
                   [&] { read_file(folder / "none"); });
  expect_bad_input({folder.path().string(), "Is a directory"}, [&] { read_file(folder.path()); });
}

TEST(AtomicFile, OldContentStaysUntilCommit) {
  TempFolder folder;
  put(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("new");
    EXPECT_EQ(get(folder / "a"), "old");
  }  // given up
  EXPECT_EQ(get(folder / "a"), "old");
  EXPECT_EQ(folder.names(), Names{"a"});
  AtomicFile file(folder / "a");
  file.write("new ");
  file.write("content");
  file.commit();
  EXPECT_EQ(get(folder / "a"), "new content");
  EXPECT_EQ(folder.names(), Names{"a"});
  expect_error(Fault::kFailure, {"after the end"}, [&] { file.write("x"); });
}

TEST(AtomicFile, TwoWritersOfOneFileDoNotMeet) {
  TempFolder folder;
  AtomicFile first(folder / "a"), second(folder / "a");
  first.write("first");
  second.write("second");
  second.commit();
  first.commit();
  EXPECT_EQ(get(folder / "a"), "first");
  EXPECT_EQ(folder.names(), Names{"a"});
}

TEST(AtomicFile, NamesWhatItCannotWrite) {
  TempFolder folder;
  const fs::path missing = folder / "no/such/file";
  expect_error(Fault::kFailure, {missing.string(), "cannot write", "No such file"},
               [&] { write_file(missing, "x"); });
  fs::create_directory(folder / "folder");
  expect_error(Fault::kFailure, {(folder / "folder").string() + ": cannot write", "directory"},
               [&] { write_file(folder / "folder", "x"); });
  EXPECT_EQ(folder.names(), Names{"folder"});
}

// Runs `body` in a child process; its return value is the exit code.
int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    int code = 99;
    try {
      code = body();
    } catch (...) {
    }
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(AtomicFile, DiskThatRunsFullLeavesTheOldFile) {  // the limit on file sizes plays the full disk
  TempFolder folder;
  put(folder / "a", "old");
  const int code = in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100'000, 100'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file(folder / "a", std::string(1'000'000, 'x'));
    } catch (const Error& e) {
      const std::string message = e.what();
      return message == (folder / "a").string() + ": cannot write: File too large" ? 7 : 8;
    }
    return 0;
  });
  EXPECT_EQ(code, 7);
  EXPECT_EQ(get(folder / "a"), "old");
  EXPECT_EQ(folder.names(), Names{"a"});
}

TEST(StagedFolder, ExistsOnlyAfterCommit) {
  TempFolder folder;
  {
    StagedFolder given_up(folder / "checkpoint-1");
    put(given_up.path() / "unet/config.json", "{}");
    EXPECT_FALSE(fs::exists(folder / "checkpoint-1"));
  }
  EXPECT_EQ(folder.names(), Names{});
  StagedFolder staged((folder / "checkpoint-1").string() + "/");  // a trailing slash does not matter
  put(staged.path() / "unet/config.json", "{}");
  write_file(staged.path() / "state.json", "1");
  staged.commit();
  EXPECT_EQ(folder.names(), Names{"checkpoint-1"});
  EXPECT_EQ(get(folder / "checkpoint-1/unet/config.json"), "{}");
  EXPECT_EQ(get(folder / "checkpoint-1/state.json"), "1");
}

TEST(StagedFolder, ReplacesAnOlderOneWhole) {
  TempFolder folder;
  put(folder / "c/old", "old");
  StagedFolder staged(folder / "c");
  put(staged.path() / "new", "new");
  EXPECT_EQ(get(folder / "c/old"), "old");
  staged.commit();
  EXPECT_EQ(folder.names(), Names{"c"});
  EXPECT_FALSE(fs::exists(folder / "c/old"));
  EXPECT_EQ(get(folder / "c/new"), "new");
}

TEST(StagedFolder, NamesWhatItCannotWrite) {
  TempFolder folder;
  const fs::path missing = folder / "no/such";
  expect_error(Fault::kFailure, {missing.string(), "cannot write"}, [&] { StagedFolder staged(missing); });
}

TEST(StaleTemporaries, KilledProgramsAreCleanedUpLivingOnesAreNot) {
  TempFolder folder;
  EXPECT_EQ(in_child([&] {
              static StagedFolder staged(folder / "checkpoint-5");
              static AtomicFile file(folder / "metrics.json");
              put(staged.path() / "deep/half", "half");
              file.write("half");
              raise(SIGKILL);
              return 0;
            }),
            -SIGKILL);
  EXPECT_EQ(folder.names().size(), 2u);
  for (const char* name : {"photo.tmp-x", "a.tmp-12", ".tmp-1-2", "b.tmp-1-2-3", "c.tmp-1-"})
    put(folder / name, "mine");
  StagedFolder living(folder / "checkpoint-6");
  AtomicFile writing(folder / "d");
  const auto removed = remove_stale_temporaries(folder.path());
  ASSERT_EQ(removed.size(), 2u);
  EXPECT_TRUE(removed[0].filename().string().starts_with("checkpoint-5.tmp-"));
  EXPECT_TRUE(removed[1].filename().string().starts_with("metrics.json.tmp-"));
  EXPECT_EQ(folder.names().size(), 7u);
  living.commit();
  writing.commit();
  EXPECT_TRUE(fs::exists(folder / "checkpoint-6") && fs::exists(folder / "d"));
  EXPECT_TRUE(remove_stale_temporaries(folder / "none").empty());
}

}  // namespace
}  // namespace imago
