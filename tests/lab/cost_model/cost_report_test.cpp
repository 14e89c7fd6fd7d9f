// Tables, and expectation beside measurement: a small U-Net is profiled on the CPU and must meet its
// rows by layer and operation. (What a CPU takes says nothing about an expectation for a GPU; that the
// two meet is what is tested.)
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "bench/profiling_backend.h"
#include "engine/io/json.h"
#include "lab/cost_model/cost_report.h"
#include "models/trainer/training_step.h"
#include "tests/lab/cost_model/cifar10_unet.h"

namespace imago {
namespace {

TrainConfig small_training() {
  TrainConfig c = test::cifar10_training(2);
  c.unet.block_out_channels = {32, 32};
  c.unet.down_block_types = {"DownBlock2D", "AttnDownBlock2D"};
  c.unet.up_block_types = {"AttnUpBlock2D", "UpBlock2D"};
  c.unet.layers_per_block = 1;
  c.height = c.width = 8;
  c.compute = DType::kFloat32;
  return c;
}

/// One update on the CPU.
MeasuredTimes profile(const TrainConfig& c) {
  ProfilingBackend profiler(cpu_backend());
  TrainingStep step(c);
  step.initialize();
  Batch batch = step.inputs().ring().front();
  std::iota(batch.ids.begin(), batch.ids.end(), 0);
  step.set_micro_batch(0, batch);
  step.begin(1e-4);
  register_backend(Device::kCpu, profiler);
  step.compute_gradients();
  step.update();
  register_backend(Device::kCpu, cpu_backend());
  MeasuredTimes times;
  for (const auto& [key, entry] : profiler.entries()) times[{key.layer, key.operation}] += entry.seconds;
  return times;
}

TEST(CostReport, MeasuredTimesMeetTheirExpectations) {
  const TrainConfig c = small_training();
  const std::string file = testing::TempDir() + "/measured.json";
  const MeasuredTimes times = profile(c);
  write_json(file, to_json(times, "cpu"));
  const MeasuredTimes read = read_measured(file);
  ASSERT_EQ(read.size(), times.size());
  double seconds = 0;
  for (const auto& [key, value] : times) {
    EXPECT_NEAR(read.at(key), value, 1e-9 + 1e-12 * value) << key.first << " " << key.second;
    seconds += value;
  }
  const auto costs = cost_of(gpu_model("h100"), record_training_step(c));
  for (CostGrouping by : {CostGrouping::kLayer, CostGrouping::kShape, CostGrouping::kOperation}) {
    const std::vector<CostRow> rows = group_costs(costs, by, &read);
    for (const CostRow& row : rows) {
      if (row.names[0] == "copy" || row.names.back() == "copy")
        continue;  // a frequency table, in the first step
      ASSERT_TRUE(row.measured) << row.names[0] << " " << row.names.back();
      EXPECT_GT(*row.measured, 0);
    }
    const double joined = total_of(rows).measured.value_or(0);
    EXPECT_GT(joined, 0.9 * seconds);
    EXPECT_LE(joined, seconds * (1 + 1e-9));
  }
  EXPECT_NE(
      format_costs(group_costs(costs, CostGrouping::kLayer, &read), CostGrouping::kLayer, TableStyle::kText)
          .find("ratio"),
      std::string::npos);
  std::filesystem::remove(file);
}

TEST(CostReport, GroupingLosesNothing) {
  const auto costs = cost_of(gpu_model("h100"), record_training_step(small_training()));
  double seconds = 0;
  int64_t launches = 0;
  for (const OperationCost& c : costs)
    seconds += c.seconds(), launches += static_cast<int64_t>(c.launches.size());
  for (CostGrouping by :
       {CostGrouping::kLayer, CostGrouping::kShape, CostGrouping::kOperation, CostGrouping::kKernel}) {
    const CostRow all = total_of(group_costs(costs, by));
    EXPECT_NEAR(all.time.total(), seconds, 1e-12);
    EXPECT_EQ(all.launches, launches);
    EXPECT_FALSE(all.measured);
  }
}

TEST(CostReport, WritesEveryOperation) {
  const auto costs = cost_of(gpu_model("a100"), record_training_step(small_training()));
  const nlohmann::json json = to_json(gpu_model("a100"), costs);
  ASSERT_EQ(json["rows"].size(), costs.size());
  EXPECT_TRUE(json["expected"]);
  std::set<std::string> layers;
  for (const auto& row : json["rows"]) layers.insert(row["layer"]);
  EXPECT_TRUE(layers.contains("down_blocks.0.resnets.0.conv1"));
  EXPECT_TRUE(layers.contains("conv_out"));
}

TEST(CostReport, MarkdownHasOneLineARow) {
  const auto rows = group_costs(cost_of(gpu_model("h100"), record_training_step(small_training())),
                                CostGrouping::kOperation);
  const std::string text = format_losses(rows, CostGrouping::kOperation, TableStyle::kMarkdown);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), static_cast<ptrdiff_t>(rows.size()) + 3);
  EXPECT_EQ(text.rfind("| operation", 0), 0u);
}

// Slower memory, longer latencies: more time. The table has a line a constant.
TEST(CostReport, SensitivityToEveryConstant) {
  const GpuModel& gpu = gpu_model("h100");
  const auto operations = record_training_step(small_training());
  const std::string text = format_sensitivity(gpu, operations, TableStyle::kMarkdown);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2 + 11);
  GpuModel slow = gpu;
  slow.launch *= 2;
  const auto milliseconds = [&](const GpuModel& model) {
    return total_of(group_costs(cost_of(model, operations), CostGrouping::kOperation)).time.total();
  };
  EXPECT_GT(milliseconds(slow), milliseconds(gpu));
}

TEST(CostReport, RefusesOtherFiles) {
  const std::string file = testing::TempDir() + "/other.json";
  for (const char* text : {"[]", "{}", R"({"rows": 1})", R"({"rows": [{"layer": "a", "op": "b"}]})",
                           R"({"rows": [{"layer": 1, "op": "b", "microseconds": 1}]})"}) {
    std::ofstream(file) << text;
    try {
      read_measured(file);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.fault, Fault::kBadInput) << text;
      EXPECT_NE(std::string(e.what()).find("other.json"), std::string::npos) << e.what();
    }
  }
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace imago
