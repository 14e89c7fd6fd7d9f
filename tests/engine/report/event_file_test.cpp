// Event files: bytes as TensorBoard's own writer makes them, and files that survive kills and resumption.
// check_tensorboard.py made the bytes, and reads a run's folder with the real TensorBoard.
#include "engine/report/event_file.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "engine/io/crc32c.h"
#include "engine/report/event_messages.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;
namespace fs = std::filesystem;

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    text.push_back("0123456789abcdef"[static_cast<uint8_t>(c) >> 4]);
    text.push_back("0123456789abcdef"[c & 15]);
  }
  return text;
}

TEST(EventMessages, SameBytesAsTensorBoardWrites) {
  constexpr double kTime = 1700000000.25;
  EXPECT_EQ(hex(tf_record(file_version_event(kTime))),
            "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9");
  EXPECT_EQ(hex(tf_record(session_start_event(kTime, 301))),
            "100000000000000095fbfe180900001040fc54d94110ad023a020801cb79b93b");
  EXPECT_EQ(
      hex(tf_record(scalar_event(kTime, 1234567, "loss/total", 0.1f))),
      "220000000000000078113dfd0900001040fc54d9411087ad4b2a130a110a0a6c6f73732f746f74616c15cdcccc3d65c50af0");
  EXPECT_EQ(
      hex(tf_record(scalar_event(kTime, 0, "zero", 0.0f))),  // a step of 0 is left out, a value of 0 not
      "1800000000000000a37f4b220900001040fc54d9412a0d0a0b0a047a65726f1500000000a4f5e67c");
  const std::string png = "\x89PNG\r\n\x1a\n" + std::string(200, '\0');
  std::string expected =
      "f800000000000000a1bdd9b00900001040fc54d94110c8012ae9010ae6010a0773616d706c657322da01080210ac02180322d0"
      "0189504e470d0a1a0a";
  expected += std::string(400, '0') + "3fbbd62c";
  EXPECT_EQ(hex(tf_record(image_event(kTime, 200, "samples", {png, 2, 300, 3}))), expected);
}

uint64_t number(const std::string& bytes, size_t at, size_t size) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, size);
  return value;
}

uint32_t masked_crc(const std::string& bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// The data of the whole records that a file begins with; `rest` becomes the number of bytes behind them.
std::vector<std::string> records_of(const fs::path& file, size_t& rest) {
  std::vector<std::string> records;
  const std::string bytes = get(file);
  size_t at = 0;
  while (bytes.size() - at >= 16) {
    const uint64_t length = number(bytes, at, 8);
    EXPECT_EQ(number(bytes, at + 8, 4), masked_crc(bytes.substr(at, 8)));
    if (length > bytes.size() - at - 16) break;
    records.push_back(bytes.substr(at + 12, length));
    EXPECT_EQ(number(bytes, at + 12 + length, 4), masked_crc(records.back()));
    at += 16 + length;
  }
  rest = bytes.size() - at;
  return records;
}

// What follows the wall time (9 bytes) of an event.
std::string untimed(const std::string& event) {
  return event.substr(9);
}

TEST(EventFile, EveryEventIsInTheFileAtOnce) {
  TempFolder folder;
  EventFileWriter writer(folder / "logs/run");
  EXPECT_TRUE(writer.path().filename().string().starts_with("events.out.tfevents."));
  size_t rest = 1;
  EXPECT_EQ(records_of(writer.path(), rest).size(), 2u);
  writer.scalar("loss", 1, 0.5f);
  const std::vector<std::string> records = records_of(writer.path(), rest);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(rest, 0u);
  EXPECT_EQ(untimed(records[0]), untimed(file_version_event(0)));
  EXPECT_EQ(untimed(records[1]), untimed(session_start_event(0, 0)));
  EXPECT_EQ(untimed(records[2]), untimed(scalar_event(0, 1, "loss", 0.5f)));
  double seconds = 0;
  std::memcpy(&seconds, records[2].data() + 1, 8);
  EXPECT_NEAR(seconds, static_cast<double>(time(nullptr)), 100);
  writer.image("samples", 1, "PNG", 3, 2, 1);
  EXPECT_EQ(untimed(records_of(writer.path(), rest).back()),
            untimed(image_event(0, 1, "samples", {"PNG", 2, 3, 1})));
}

TEST(EventFile, ResumedRunsSortBehindAndSayWhereTheyBegin) {
  TempFolder folder;
  std::vector<std::string> names;
  for (int64_t first_step : {0, 101, 51}) {
    EventFileWriter writer(folder.path(), first_step);
    names.push_back(writer.path().filename());
    size_t rest = 0;
    EXPECT_EQ(untimed(records_of(writer.path(), rest)[1]), untimed(session_start_event(0, first_step)));
  }
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  put(folder / "events.out.tfevents.4000000000.elsewhere.1.0", "");  // a clock that was ahead
  EventFileWriter writer(folder.path());
  EXPECT_EQ(folder.names().back(), writer.path().filename());
}

TEST(EventFile, AKilledProgramLeavesWholeRecordsAndAtMostOneTornOne) {
  TempFolder folder;
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    try {
      EventFileWriter writer(folder.path());
      for (int64_t step = 1;; ++step) writer.scalar("loss", step, 1.0f);
    } catch (...) {
      _exit(1);
    }
  }
  size_t bytes = 0;
  for (int i = 0; i < 1000 && bytes < 10000; ++i) {
    usleep(10000);
    for (const std::string& name : folder.names()) bytes = fs::file_size(folder / name);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  ASSERT_GE(bytes, 10000u);
  size_t rest = 0;
  const std::vector<std::string> records = records_of(folder / folder.names()[0], rest);
  EXPECT_LT(rest, tf_record(scalar_event(0, int64_t{1} << 40, "loss", 1)).size());
  for (size_t i = 2; i < records.size(); ++i)
    ASSERT_EQ(untimed(records[i]), untimed(scalar_event(0, static_cast<int64_t>(i) - 1, "loss", 1.0f)));
}

TEST(EventFile, AFolderThatCannotBeWritten) {
  TempFolder folder;
  put(folder / "file", "x");
  expect_error(Fault::kFailure, {(folder / "file").string() + ": cannot write: Not a directory"},
               [&] { EventFileWriter writer(folder / "file"); });
}

}  // namespace
}  // namespace imago
