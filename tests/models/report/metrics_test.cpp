// metrics.jsonl: the bits survive the text, resuming cuts at the checkpoint, and no kill or full disk leaves
// a file that cannot be read.
#include "models/report/metrics.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using test::expect_bad_input;
using test::expect_error;
using test::get;
using test::put;
using test::TempFolder;

MetricsRow row_of(int64_t step) {
  MetricsRow row;
  row.step = step;
  row.epoch = step / 10;
  row.images = 16 * step;
  row.loss = 1.0f / static_cast<float>(step);
  row.loss_by_quartile = {0.1f, kNotMeasured, 3e-9f, 7};
  row.learning_rate = 1e-4 / static_cast<double>(step);
  row.grad_norm = 0.3f * static_cast<float>(step);
  row.seconds = 0.25;
  row.images_per_second = 64;
  return row;
}

std::string lines(int64_t first, int64_t last) {
  std::string text;
  for (int64_t step = first; step <= last; ++step) text += format_metrics_row(row_of(step)) + "\n";
  return text;
}

TEST(Metrics, ALineHasItsKeysInOrderAndTheShortestNumbers) {
  MetricsRow row = row_of(10);
  row.loss = 0.1f;
  row.ema_decay = 0.9999;
  EXPECT_EQ(format_metrics_row(row),
            "{\"step\":10,\"epoch\":1,\"pictures\":160,\"loss\":0.1,\"loss_q1\":0.1,\"loss_q2\":null,"
            "\"loss_q3\":3e-09,\"loss_q4\":7,\"learning_rate\":1e-05,\"grad_norm\":3,\"ema_decay\":0.9999,"
            "\"seconds\":0.25,\"pictures_per_second\":64}");
  EXPECT_TRUE(nlohmann::json::accept(format_metrics_row(row)));
  row.loss = INFINITY;
  row.learning_rate = -NAN;
  EXPECT_EQ(nlohmann::json::parse(format_metrics_row(row))["loss"], nullptr);
  EXPECT_EQ(nlohmann::json::parse(format_metrics_row(row))["learning_rate"], nullptr);
}

TEST(Metrics, EveryBitSurvives) {
  TempFolder folder;
  std::mt19937_64 random(5);
  std::vector<MetricsRow> written;
  {
    MetricsWriter writer(folder / "m.jsonl");
    for (int64_t step = 1; step <= 2000; ++step) {
      MetricsRow row = row_of(step);
      row.loss = std::bit_cast<float>(static_cast<uint32_t>(random()));  // any bits: tiny, huge, NaN
      row.grad_norm = std::bit_cast<float>(static_cast<uint32_t>(random()));
      row.learning_rate = std::bit_cast<double>(random());
      row.images = static_cast<int64_t>(random() >> 1);
      writer.write(row);
      written.push_back(row);
    }
  }
  const auto same = [](auto a, auto b) {
    return std::isfinite(a) ? std::memcmp(&a, &b, sizeof a) == 0 : std::isnan(b);
  };
  const std::vector<MetricsRow> read = read_metrics(folder / "m.jsonl");
  ASSERT_EQ(read.size(), written.size());
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].step, written[i].step);
    EXPECT_EQ(read[i].images, written[i].images);
    EXPECT_TRUE(same(written[i].loss, read[i].loss)) << written[i].loss << " " << read[i].loss;
    EXPECT_TRUE(same(written[i].grad_norm, read[i].grad_norm));
    EXPECT_TRUE(same(written[i].learning_rate, read[i].learning_rate));
    EXPECT_TRUE(std::isnan(read[i].loss_by_quartile[1]));
    EXPECT_EQ(read[i].loss_by_quartile[2], 3e-9f);
  }
}

TEST(Metrics, EveryRowIsInTheFileAtOnce) {
  TempFolder folder;
  MetricsWriter writer(folder / "m.jsonl");
  for (int64_t step = 1; step <= 3; ++step) {
    writer.write(row_of(step));
    EXPECT_EQ(get(folder / "m.jsonl"), lines(1, step));
  }
  writer.sync();
}

TEST(Metrics, ResumeCutsBehindTheCheckpointAndDropsATornLine) {
  TempFolder folder;
  const auto path = folder / "m.jsonl";
  const std::string whole = lines(1, 9);
  const std::string torn = whole + format_metrics_row(row_of(10)).substr(0, 40);
  // The file as a kill left it, the step to resume from, the step that must be the last one kept.
  const struct {
    std::string before;
    int64_t resume, kept;
  } cases[] = {{whole, 6, 6}, {torn, 6, 6},  {torn, 9, 9},
               {torn, 12, 9}, {whole, 9, 9}, {whole.substr(0, 5), 3, 0},
               {"", 3, 0},    {torn, 0, 0}};
  for (const auto& c : cases) {
    put(path, c.before);
    {
      MetricsWriter writer(path, c.resume);
      EXPECT_EQ(writer.rows_kept(), c.kept);
      EXPECT_EQ(get(path), lines(1, c.kept));
      for (int64_t step = c.kept + 1; step <= 12; ++step) writer.write(row_of(step));
    }
    EXPECT_EQ(get(path), lines(1, 12)) << "not as if never killed, resumed from " << c.resume;
  }
}

TEST(Metrics, AResumedRunWithoutAFileStartsOne) {
  TempFolder folder;
  MetricsWriter writer(folder / "m.jsonl", 5);
  writer.write(row_of(6));
  EXPECT_EQ(get(folder / "m.jsonl"), lines(6, 6));
}

TEST(Metrics, WhatComesBehindTheCheckpointMayBeAnything) {
  TempFolder folder;
  put(folder / "m.jsonl", lines(1, 5) + "{\"step\": garbage\n" + std::string(100, '\0') + "\n");
  expect_bad_input({"m.jsonl:6: expected"}, [&] { read_metrics(folder / "m.jsonl"); });
  const std::string before = get(folder / "m.jsonl");
  expect_bad_input({"m.jsonl:6: expected"}, [&] { MetricsWriter(folder / "m.jsonl", 6); });
  EXPECT_EQ(get(folder / "m.jsonl"), before);  // refused, not damaged
  put(folder / "m.jsonl", lines(1, 6) + "garbage\n");
  EXPECT_EQ(MetricsWriter(folder / "m.jsonl", 5).rows_kept(), 5);
}

TEST(Metrics, ReadingLeavesOutATornLineAndForgivesOtherKeys) {
  TempFolder folder;
  put(folder / "m.jsonl", lines(1, 4) + "{\"step\":5,\"epo");
  EXPECT_EQ(read_metrics(folder / "m.jsonl").size(), 4u);
  put(folder / "m.jsonl", "{\"step\": 3, \"loss\": 0.5, \"weather\": [\"fine\"]}\n");
  const std::vector<MetricsRow> rows = read_metrics(folder / "m.jsonl");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].loss, 0.5f);
  EXPECT_TRUE(std::isnan(rows[0].grad_norm));
  put(folder / "m.jsonl", "");
  EXPECT_TRUE(read_metrics(folder / "m.jsonl").empty());
}

TEST(Metrics, RefusesWhatIsNoMetricsFile) {
  TempFolder folder;
  const auto refused = [&](const std::string& content, const std::string& complaint) {
    put(folder / "m.jsonl", content);
    expect_bad_input({"m.jsonl:" + complaint}, [&] { read_metrics(folder / "m.jsonl"); });
  };
  refused("\n", "1: expected");
  refused("[1]\n", "1: expected");
  refused("{\"loss\":1}\n", "1: expected");
  refused("{\"step\":0}\n", "1: expected");
  refused("{\"step\":1.5}\n", "1: expected");
  refused("{\"step\":1,\"loss\":\"low\"}\n", "1: expected");
  refused(lines(1, 2) + lines(2, 2), "3: step 2 comes after step 2");
  expect_bad_input({"none.jsonl: cannot read"}, [&] { read_metrics(folder / "none.jsonl"); });
  expect_error(Fault::kFailure, {"nowhere/m.jsonl: cannot write: No such file"},
               [&] { MetricsWriter(folder / "nowhere" / "m.jsonl"); });
}

// A file that may not grow past a limit behaves as one on a full disk: a write comes back short, the next one
// fails.
TEST(Metrics, AFullDiskLeavesWholeLines) {
  TempFolder folder;
  const auto path = folder / "m.jsonl";
  const auto limit = static_cast<rlim_t>(lines(1, 3).size() + 50);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit small{limit, limit};
    setrlimit(RLIMIT_FSIZE, &small);
    try {
      MetricsWriter writer(path);
      for (int64_t step = 1;; ++step) writer.write(row_of(step));
    } catch (const Error& e) {
      const bool right = e.fault == Fault::kFailure &&
                         std::string(e.what()) == path.string() + ": cannot write: File too large";
      _exit(right ? 0 : 3);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(get(path), lines(1, 3));
}

}  // namespace
}  // namespace imago
