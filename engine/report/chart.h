// A line chart as a piece of HTML: curves in an SVG that stretches to any width, tick labels as text beside
// it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/report/series.h"

namespace imago {

struct Curve {
  std::string name;   // in the legend and under the pointer; empty: neither
  std::string color;  // a CSS custom property of the page's style, e.g. "accent"
  Series points;
  /// The raw values behind their average: a thin line; of more than 1000 points the band in which nine in ten
  /// lie.
  bool faint = false;
};

struct Chart {
  std::string title;
  std::vector<Curve> curves;
  std::string x_name = "step";  // under the pointer
  bool wide = false;            // takes the whole width of the page
  bool from_zero = false;       // linear from zero; otherwise logarithmic where the values call for it
};

/// The chart, with at most 1000 points a curve. Empty if no curve has a point.
std::string format_chart(const Chart& chart);

/// The text with HTML's special characters replaced, for content and attribute values.
std::string escape_html(std::string_view text);

}  // namespace imago
