// Expected times as tables: by layer, by operation, by kernel, and beside what was measured.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lab/cost_model/cost_model.h"

namespace imago {

/// Seconds a step by (layer, operation): [{"layer": "conv_in", "op": "conv2d", "microseconds": 12.5}, ...] in
/// a file, under the key "rows". Written by `bench_train_step --profile_json`.
using MeasuredTimes = std::map<std::pair<std::string, std::string>, double>;
MeasuredTimes read_measured(const std::string& file);
nlohmann::json to_json(const MeasuredTimes& times, const std::string& device);

/// Launches that belong together.
struct CostRow {
  std::vector<std::string> names;  // as many as there are columns of names
  int64_t calls = 0, launches = 0;
  double flops = 0, bytes = 0, shared_bytes = 0;
  LaunchTime time;                  // summed
  const Launch* largest = nullptr;  // the launch that takes longest: tiles, waves and limit are its
  LaunchTime largest_time;
  std::optional<double> measured;  // seconds
};

enum class CostGrouping { kLayer, kShape, kOperation, kKernel };

/// In the order of the first member; `measured` may be null. By kernel there is nothing to join it with.
std::vector<CostRow> group_costs(const std::vector<OperationCost>& costs, CostGrouping grouping,
                                 const MeasuredTimes* measured = nullptr);
CostRow total_of(const std::vector<CostRow>& rows);

enum class TableStyle { kText, kMarkdown };

/// One line a row and one for all: work, tiles, limit, time.
std::string format_costs(const std::vector<CostRow>& rows, CostGrouping grouping, TableStyle style);
/// One line a row: into what its time falls, in milliseconds; the longest first.
std::string format_losses(std::vector<CostRow> rows, CostGrouping grouping, TableStyle style);

/// One line for each constant of the GPU's model that is no entry of its data sheet: the milliseconds of all
/// operations if it were 20 % smaller, and 20 % larger.
std::string format_sensitivity(const GpuModel& gpu, const std::vector<RecordedOperation>& operations,
                               TableStyle style);

nlohmann::json to_json(const GpuModel& gpu, const std::vector<OperationCost>& costs);

}  // namespace imago
