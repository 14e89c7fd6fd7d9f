#include "lab/cost_model/cost_report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/io/json.h"

namespace imago {

namespace {

using Table = std::vector<std::vector<std::string>>;

std::string fixed(double value, int decimals) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

/// The first `names` columns to the left, the others to the right.
std::string format_table(const Table& table, size_t names, TableStyle style) {
  const bool markdown = style == TableStyle::kMarkdown;
  std::vector<size_t> widths(table[0].size());
  for (const auto& row : table)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (size_t r = 0; r < table.size(); ++r) {
    text += markdown ? "|" : "";
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string& cell = table[r][i];
      const std::string space(widths[i] - cell.size(), ' ');
      text += (markdown ? " "
               : i      ? "  "
                        : "") +
              (i < names ? cell + space : space + cell) + (markdown ? " |" : "");
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += "\n";
    if (markdown && r == 0) {
      text += "|";
      for (size_t i = 0; i < widths.size(); ++i) text += i < names ? " --- |" : " ---: |";
      text += "\n";
    }
  }
  return text;
}

std::vector<std::string> name_columns(CostGrouping grouping) {
  switch (grouping) {
    case CostGrouping::kLayer: return {"layer", "operation"};
    case CostGrouping::kShape: return {"operation", "filter", "on"};
    case CostGrouping::kOperation: return {"operation"};
    case CostGrouping::kKernel: return {"kernel"};
  }
  return {};
}

/// "32x32", "rows" of a linear layer, or "" where there are no images.
std::string resolution(const Operation& o) {
  const Shape& s = o.x.a.shape;
  if (o.w && s[1] == 1) return str(s[2], " rows");
  if (s.rank() == 4) return str(s[1], "x", s[2]);
  return s.rank() == 3 ? str(s[1], " tokens") : "";
}

std::vector<std::string> names_of(const Operation& o, const Launch& launch, CostGrouping grouping) {
  switch (grouping) {
    case CostGrouping::kLayer: return {o.layer, o.name};
    case CostGrouping::kShape: {
      const bool thin = o.w && std::min(o.w.shape[0], o.w.shape[3]) < 8;  // images: not for tensor cores
      return {o.name,
              o.w ? str(o.w.shape[1], "x", o.w.shape[2], o.geometry.stride > 1 ? " /2" : "",
                        thin ? ", 3 channels" : "")
                  : "",
              resolution(o)};
    }
    case CostGrouping::kOperation: return {o.name};
    case CostGrouping::kKernel: return {launch.name};
  }
  return {};
}

void add_time(LaunchTime& sum, const LaunchTime& t) {
  sum.lower_bound += t.lower_bound, sum.padding += t.padding, sum.operands += t.operands;
  sum.latency += t.latency, sum.tail += t.tail, sum.passes += t.passes, sum.launch += t.launch;
}

void add_launch(CostRow& row, const LaunchCost& k) {
  row.launches += 1;
  row.shared_bytes += k.launch.shared_bytes();
  add_time(row.time, k.time);
  if (!row.largest || k.time.total() > row.largest_time.total())
    row.largest = &k.launch, row.largest_time = k.time;
}

void sort_by_time(std::vector<CostRow>& rows) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const CostRow& a, const CostRow& b) { return a.time.total() > b.time.total(); });
}

}  // namespace

MeasuredTimes read_measured(const std::string& file) {
  MeasuredTimes times;
  const nlohmann::json object = read_json(file);
  if (!object.is_object() || !object.contains("rows") || !object["rows"].is_array())
    bad_input(file, ": expected an object with an array \"rows\"");
  for (const auto& row : object["rows"]) {
    const bool good = row.is_object() && row.contains("layer") && row["layer"].is_string() &&
                      row.contains("op") && row["op"].is_string() && row.contains("microseconds") &&
                      row["microseconds"].is_number();
    if (!good) bad_input(file, ": expected rows of \"layer\", \"op\" and \"microseconds\", not ", row.dump());
    times[{row["layer"], row["op"]}] += 1e-6 * row["microseconds"].get<double>();
  }
  return times;
}

nlohmann::json to_json(const MeasuredTimes& times, const std::string& device) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& [key, seconds] : times)
    rows.push_back({{"layer", key.first}, {"op", key.second}, {"microseconds", 1e6 * seconds}});
  return {{"device", device}, {"rows", rows}};
}

std::vector<CostRow> group_costs(const std::vector<OperationCost>& costs, CostGrouping grouping,
                                 const MeasuredTimes* measured) {
  std::vector<CostRow> rows;
  std::map<std::vector<std::string>, size_t> index;
  const auto row_of = [&](const std::vector<std::string>& names) -> CostRow& {
    const auto [at, is_new] = index.emplace(names, rows.size());
    if (is_new) rows.emplace_back().names = names;
    return rows[at->second];
  };
  MeasuredTimes left =
      measured ? *measured : MeasuredTimes();  // a time belongs to the first row that wants it
  for (const OperationCost& cost : costs) {
    const Operation& o = cost.recorded.operation;
    for (size_t i = 0; i < cost.launches.size(); ++i) {
      const LaunchCost& k = cost.launches[i];
      CostRow& row = row_of(names_of(o, k.launch, grouping));
      add_launch(row, k);
      if (grouping == CostGrouping::kKernel) {
        row.calls += 1, row.flops += k.launch.useful_flops, row.bytes += k.launch.memory_bytes;
      } else if (i == 0) {
        row.calls += 1;
        row.flops += static_cast<double>(cost.recorded.flops);
        row.bytes += static_cast<double>(cost.recorded.bytes);
        if (const auto at = left.find({o.layer, o.name}); at != left.end())
          row.measured = row.measured.value_or(0) + at->second, left.erase(at);
      }
    }
  }
  return rows;
}

CostRow total_of(const std::vector<CostRow>& rows) {
  CostRow sum;
  for (const CostRow& r : rows) {
    sum.calls += r.calls, sum.launches += r.launches;
    sum.flops += r.flops, sum.bytes += r.bytes, sum.shared_bytes += r.shared_bytes;
    add_time(sum.time, r.time);
    if (r.measured) sum.measured = sum.measured.value_or(0) + *r.measured;
  }
  return sum;
}

std::string format_costs(const std::vector<CostRow>& rows, CostGrouping grouping, TableStyle style) {
  const CostRow all = total_of(rows);
  Table table = {name_columns(grouping)};
  const size_t names = table[0].size() + (grouping != CostGrouping::kKernel);
  if (grouping != CostGrouping::kKernel) table[0].push_back("longest kernel");
  for (const char* title : {"launches", "GFLOP", "MB", "blocks", "waves", "in use", "shared B/FLOP", "limit",
                            "lower bound us", "us"})
    table[0].push_back(title);
  if (all.measured) table[0].insert(table[0].end(), {"measured us", "ratio"});
  const auto add = [&](std::vector<std::string> line, const CostRow& r) {
    line.resize(names);
    const Launch* k = r.largest;
    if (k && grouping != CostGrouping::kKernel) line.back() = k->name;
    const double useful = k ? k->useful_flops : 0;
    const bool products = k && k->roof > 0 && useful > 0;
    for (std::string cell :
         {std::to_string(r.launches), fixed(1e-9 * r.flops, 1), fixed(1e-6 * r.bytes, 1),
          k ? std::to_string(k->blocks) : "", k ? fixed(r.largest_time.waves, 2) : "",
          k ? fixed(100 * r.largest_time.utilisation, 0) + "%" : "",
          products ? fixed(k->shared_bytes() / useful, 3) : "", std::string(k ? r.largest_time.limit : ""),
          fixed(1e6 * r.time.lower_bound, 1), fixed(1e6 * r.time.total(), 1)})
      line.push_back(std::move(cell));
    if (all.measured) {
      line.push_back(r.measured ? fixed(1e6 * *r.measured, 1) : "");
      line.push_back(r.measured ? fixed(*r.measured / r.time.total(), 2) : "");
    }
    table.push_back(std::move(line));
  };
  for (const CostRow& r : rows) add(r.names, r);
  add({"all"}, all);
  return format_table(table, names, style);
}

std::string format_losses(std::vector<CostRow> rows, CostGrouping grouping, TableStyle style) {
  const CostRow all = total_of(rows);
  sort_by_time(rows);
  Table table = {name_columns(grouping)};
  const size_t names = table[0].size();
  for (const char* title :
       {"launches", "ms", "lower bound", "padding", "operands", "latency", "tail", "passes", "launch"})
    table[0].push_back(title);
  const auto add = [&](std::vector<std::string> line, const CostRow& r) {
    line.resize(names);
    line.push_back(std::to_string(r.launches));
    const LaunchTime& t = r.time;
    for (double seconds :
         {t.total(), t.lower_bound, t.padding, t.operands, t.latency, t.tail, t.passes, t.launch})
      line.push_back(fixed(1e3 * seconds, 3));
    table.push_back(std::move(line));
  };
  for (const CostRow& r : rows) add(r.names, r);
  add({"all"}, all);
  return format_table(table, names, style);
}

std::string format_sensitivity(const GpuModel& gpu, const std::vector<RecordedOperation>& operations,
                               TableStyle style) {
  struct Constant {
    const char* name;
    double GpuModel::*field;
    double shown;  // units of the field in one that is shown
    int decimals;
  };
  const Constant constants[] = {
      {"clock, GHz", &GpuModel::clock, 1e9, 3},
      {"clock while tensor cores are busy, GHz", &GpuModel::tensor_clock, 1e9, 3},
      {"share of the tensor cores that mma.sync reaches", &GpuModel::mma_sync_share, 1, 3},
      {"share of issue slots in use", &GpuModel::issue_share, 1, 2},
      {"device memory, TB/s", &GpuModel::memory_bandwidth, 1e12, 2},
      {"L2, TB/s", &GpuModel::l2_bandwidth, 1e12, 2},
      {"latency of device memory, us", &GpuModel::memory_latency, 1e-6, 2},
      {"latency of L2, us", &GpuModel::l2_latency, 1e-6, 2},
      {"latency of L1, cycles", &GpuModel::l1_latency, 1, 0},
      {"start of a block on wgmma, cycles", &GpuModel::block_fill, 1, 0},
      {"from one launch to the next, us", &GpuModel::launch, 1e-6, 2},
  };
  const auto milliseconds = [&](const GpuModel& model) {
    double sum = 0;
    for (const OperationCost& cost : cost_of(model, operations)) sum += cost.seconds();
    return fixed(1e3 * sum, 2);
  };
  Table table = {{"constant", "assumed", "ms, 20 % smaller", "ms, 20 % larger"}};
  for (const Constant& c : constants) {
    GpuModel smaller = gpu, larger = gpu;
    smaller.*c.field *= 0.8;
    larger.*c.field *= 1.2;
    table.push_back(
        {c.name, fixed(gpu.*c.field / c.shown, c.decimals), milliseconds(smaller), milliseconds(larger)});
  }
  return format_table(table, 1, style);
}

nlohmann::json to_json(const GpuModel& gpu, const std::vector<OperationCost>& costs) {
  nlohmann::json rows = nlohmann::json::array();
  double seconds = 0;
  for (const OperationCost& cost : costs) {
    nlohmann::json kernels = nlohmann::json::array();
    for (const auto& [k, t] : cost.launches)
      kernels.push_back({{"kernel", k.name},
                         {"blocks", k.blocks},
                         {"waves", t.waves},
                         {"utilisation", t.utilisation},
                         {"flops", k.flops},
                         {"memory_bytes", k.memory_bytes},
                         {"l2_bytes", k.l2_bytes},
                         {"shared_bytes", k.shared_bytes()},
                         {"limit", t.limit},
                         {"microseconds", 1e6 * t.total()}});
    const Operation& o = cost.recorded.operation;
    seconds += cost.seconds();
    rows.push_back({{"layer", o.layer},
                    {"op", o.name},
                    {"shapes", o.shapes()},
                    {"flops", cost.recorded.flops},
                    {"bytes", cost.recorded.bytes},
                    {"microseconds", 1e6 * cost.seconds()},
                    {"kernels", kernels}});
  }
  return {{"gpu", gpu.title}, {"expected", true}, {"microseconds", 1e6 * seconds}, {"rows", rows}};
}

}  // namespace imago
