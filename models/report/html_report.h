// report.html: a whole run on one page that needs no other file, no network and no JavaScript.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/report/page.h"
#include "models/report/metrics.h"

namespace imago {

/// An image grid that a run sampled: the PNG's bytes, or where the file lies (one of the two).
struct SampleGrid {
  int64_t step = 0;
  std::filesystem::path file;
  std::string png;
};

/// Plain text everywhere; the report escapes it. Empty tables, no rows and no grids leave their part out.
struct ReportData {
  using Table = NamesAndValues;

  std::string title;                // "fashion-mnist"
  std::string subtitle;             // "32x32, 1.2 M parameters, float32"; may be empty
  std::string status;               // "finished", "interrupted at step 4,000"; may be empty
  int64_t total_steps = 0;          // planned; 0: unknown
  Table model;                      // parameters, FLOPs per image, ...
  Table config;                     // every option of the run
  Table environment;                // device, threads, version, ...
  std::vector<MetricsRow> metrics;  // ascending steps
  std::vector<SampleGrid> grids;  // ascending steps; of very many, about forty spread over the run are shown
};

/// The page: curves of loss (every step, and smoothed), loss by timestep quartile, learning rate, gradient
/// norm and speed as inline SVG, with at most 1000 points each however long the run; the sample grids as data
/// URIs; the tables. Follows the reader's light or dark setting. A PNG file that cannot be read is bad input.
std::string format_report(const ReportData& data);

/// format_report into a file, atomically.
void write_report(const std::filesystem::path& path, const ReportData& data);

}  // namespace imago
