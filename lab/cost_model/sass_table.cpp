#include "lab/cost_model/sass_table.h"

#include <charconv>
#include <fstream>

#include "kernels/error.h"

namespace imago {

namespace {

constexpr const char* kTotal = "instructions";

/// "| a<b, c> | 1 |" as {"a<b, c>", "1"}.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  for (size_t begin = 2; begin < line.size();) {
    const size_t end = line.find(" |", begin);
    if (end == std::string::npos) break;
    cells.push_back(line.substr(begin, end - begin));
    begin = end + 3;
  }
  return cells;
}

}  // namespace

SassTable::SassTable(const std::string& file) : file_(file) {
  std::ifstream in(file);
  if (!in) bad_input(file, ": cannot be read");
  std::vector<std::string> header;
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("| ")) continue;
    const std::vector<std::string> cells = cells_of(line);
    if (header.empty()) {
      header = cells;
      continue;
    }
    if (cells.size() != header.size() || cells.size() < 3)
      bad_input(file, ": expected ", header.size(), " cells in every row, not those of ", line);
    Row row{cells[0], cells[1], {}};
    for (size_t i = 2; i < cells.size(); ++i) {
      int& count = row.counts[header[i]];
      const char* const end = cells[i].data() + cells[i].size();
      const auto [stop, error] = std::from_chars(cells[i].data(), end, count);
      if (error != std::errc() || stop != end) bad_input(file, ": expected counts, not ", cells[i]);
    }
    rows_.push_back(std::move(row));
  }
  if (rows_.empty() || !rows_[0].counts.contains(kTotal)) bad_input(file, ": expected a table of lab/sass");
}

const SassTable::Row& SassTable::find(std::string_view kernel, const std::string& with,
                                      const std::string& without) const {
  const auto count = [&](const Row& row, const std::string& of) {
    const auto at = row.counts.find(of);
    if (at == row.counts.end()) failure(file_, ": no instructions are of class ", of);
    return at->second;
  };
  for (const Row& row : rows_) {
    if (!row.kernel.starts_with(kernel) || row.loop == "all" || row.loop == "end") continue;
    if (count(row, with) > 0 && (without.empty() || count(row, without) == 0)) return row;
  }
  failure(file_, ": no loop of ", kernel, " has ", with, without.empty() ? "" : " and no ", without);
}

double SassTable::loop(std::string_view kernel, const std::string& with, const std::string& without) const {
  return find(kernel, with, without).counts.at(kTotal);
}

double SassTable::in_loop(std::string_view kernel, const std::string& of, const std::string& with,
                          const std::string& without) const {
  return find(kernel, with, without).counts.at(of);
}

double SassTable::end(std::string_view kernel) const {
  for (const Row& row : rows_)
    if (row.kernel.starts_with(kernel) && row.loop == "end") return row.counts.at(kTotal);
  failure(file_, ": ", kernel, " has no end");
}

const SassTable& sass_table() {
  static const SassTable table(IMAGO_SASS_TABLE);
  return table;
}

}  // namespace imago
