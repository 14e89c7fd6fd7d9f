// Files that an earlier version wrote: an interrupted run goes on, a model samples, to the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/io/safetensors.h"
#include "tests/apps/tiny_run.h"

namespace imago::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kBefore = fs::path(IMAGO_SOURCE_DIR) / "tests/apps/written_before";

/// Whether this CPU adds in the order in which the files were computed: in vectors of sixteen floats.
bool computes_the_same_bits() {
  std::istringstream words(get("/proc/cpuinfo"));
  for (std::string word; words >> word;)
    if (word == "avx512f") return true;
  return false;
}

std::vector<json> rows_of(const fs::path& metrics) {
  std::vector<json> rows;
  std::istringstream lines(get(metrics));
  for (std::string line; std::getline(lines, line);) rows.push_back(json::parse(line));
  return rows;
}

/// Equal but for the time that a step took.
void expect_same_row(const json& row, const json& expected) {
  for (const auto& [key, value] : expected.items()) {
    if (key == "seconds" || key == "pictures_per_second") continue;
    EXPECT_EQ(row.value(key, json()), value) << key << " of step " << expected["step"];
  }
}

/// Training: rounding in another order moves the loss by some 1e-6 a step; a wrong step moves it by percents.
void expect_near_row(const json& row, const json& expected) {
  const double loss = expected["loss"];
  EXPECT_NEAR(row["loss"].get<double>(), loss, 1e-3 * loss) << "step " << expected["step"];
}

TEST(WrittenBefore, AnInterruptedRunGoesOn) {
  const TinyRun tiny;
  fs::copy(kBefore / "run", tiny.path("run"), fs::copy_options::recursive);
  const Finished f = run_program(
      "train_ddpm",
      tiny.train("run", 8,
                 {"--model_config_name_or_path", (kBefore / "model.json").string(), "--checkpointing_steps",
                  "4", "--gradient_accumulation_steps", "2", "--random_flip", "--dataloader_num_workers", "2",
                  "--resume_from_checkpoint", "latest"}));
  ASSERT_EQ(f.code, 0) << f.err;
  EXPECT_EQ(f.err.find("not as if"), f.err.npos) << f.err;  // no setting has another name now
  const std::vector<json> rows = rows_of(tiny.path("run") / "metrics.jsonl"),
                          expected = rows_of(kBefore / "expected/metrics.jsonl");
  ASSERT_EQ(rows.size(), expected.size());
  const bool bits = computes_the_same_bits();
  for (size_t i = 0; i < rows.size(); ++i)
    (bits || i < 4 ? expect_same_row : expect_near_row)(rows[i], expected[i]);
  for (const char* file : {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json"})
    EXPECT_EQ(get(tiny.path("run") / file), get(kBefore / "expected" / file)) << file;
  const char* weights = "unet/diffusion_pytorch_model.safetensors";
  if (!bits) return;
  EXPECT_TRUE(get(tiny.path("run") / weights) == get(kBefore / "expected" / weights));
}

TEST(WrittenBefore, AModelSamples) {
  const TempFolder folder;
  const fs::path file = folder / "samples.safetensors";
  const Finished f =
      run_program("sample_ddpm", {"--model", (kBefore / "expected").string(), "--num_images", "6",
                                  "--batch_size", "4", "--scheduler", "ddpm", "--num_inference_steps", "10",
                                  "--seed", "3", "--device", "cpu", "--save_tensors", file.string()});
  ASSERT_EQ(f.code, 0) << f.err;
  const std::vector<float> samples = SafetensorsFile(file).read_as_float32("samples");
  const std::vector<float> expected =
      SafetensorsFile(kBefore / "expected/samples.safetensors").read_as_float32("samples");
  ASSERT_EQ(samples.size(), expected.size());
  // Ten passes of a network of some 30 layers in float32, and steps that scale an error by at most 10.
  const float tolerance = computes_the_same_bits() ? 0 : 1e-3f;
  for (size_t i = 0; i < samples.size(); ++i) EXPECT_NEAR(samples[i], expected[i], tolerance) << i;
}

}  // namespace
}  // namespace imago::test
