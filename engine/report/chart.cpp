#include "engine/report/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/report/axis.h"
#include "kernels/error.h"

namespace imago {
namespace {

constexpr size_t kMostPoints = 1000, kBandRuns = 250;
constexpr double kSide = 1000;       // the SVG's own units, both ways; the page stretches it
constexpr double kOutliers = 0.005;  // of the raw values, left out at either end of the axis
constexpr double kLogFrom = 6;       // highest / lowest value from which an axis becomes logarithmic

bool drawn_as_band(const Curve& curve) {
  return curve.faint && curve.points.size() > kMostPoints;
}

// Percentages and coordinates: one decimal is a tenth of a pixel.
std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  std::string s = text;
  if (s.ends_with(".0")) s.resize(s.size() - 2);
  return s == "-0" ? "0" : s;
}

Range values_of(const Chart& chart) {
  Range range{INFINITY, -INFINITY};
  for (const Curve& curve : chart.curves) {
    if (curve.points.empty()) continue;
    Range r = range_of(curve.points, curve.faint ? kOutliers : 0);
    if (drawn_as_band(curve)) {
      const Band band = band_of(curve.points, kBandRuns);
      r = {range_of(band.low).low, range_of(band.high).high};
    }
    range = {std::min(range.low, r.low), std::max(range.high, r.high)};
  }
  return range;
}

Axis value_axis(const Chart& chart) {
  const Range r = values_of(chart);
  const int wanted = chart.wide ? 6 : 5;
  if (chart.from_zero) return linear_axis(std::min(r.low, 0.0), r.high > 0 ? r.high * 1.06 : 1, wanted);
  if (r.low > 0 && r.high / r.low >= kLogFrom) {
    const double room = std::pow(r.high / r.low, 0.05);
    return log_axis(r.low / room, r.high * room, wanted);
  }
  const double room = 0.06 * (r.high - r.low);
  return linear_axis(r.low - room, r.high + room, wanted);
}

Axis step_axis(const Chart& chart) {
  double first = 0, last = 1;
  for (const Curve& curve : chart.curves) {
    if (curve.points.empty()) continue;
    first = std::min(first, curve.points.front().x);
    last = std::max(last, curve.points.back().x);
  }
  Axis axis = linear_axis(first, last, chart.wide ? 10 : 5);
  std::erase_if(axis.ticks, [](double tick) { return tick != std::round(tick); });  // no half steps
  return axis;
}

std::string path_of(const Series& points, const Axis& x, const Axis& y) {
  std::string d;
  for (const Point& p : points) {
    // Far outside is as good as outside, and keeps the text short.
    const double up = std::clamp(y.position(p.y), -0.5, 1.5);
    d += (d.empty() ? "M" : "L") + number(kSide * x.position(p.x)) + " " + number(kSide * (1 - up));
  }
  if (points.size() == 1) d += "h0";  // a stroke of no length: its round cap is a dot
  return d;
}

std::string path_of(const Curve& curve, const Axis& x, const Axis& y) {
  if (!drawn_as_band(curve)) return path_of(thin(curve.points, kMostPoints), x, y);
  Band band = band_of(curve.points, kBandRuns);
  std::reverse(band.low.begin(), band.low.end());
  band.high.insert(band.high.end(), band.low.begin(), band.low.end());
  return path_of(band.high, x, y) + "Z";
}

std::string grid_lines(const Axis& y) {
  std::string d;
  for (const double tick : y.ticks) d += "M0 " + number(kSide * (1 - y.position(tick))) + "H" + number(kSide);
  return "<path class=\"grid\" d=\"" + d + "\"/>";
}

// The bottom axis in the order of steps: every second label can go where there is little room.
std::string labels(const Axis& axis, const char* type, const char* edge) {
  std::string html;
  for (size_t i = 0; i < axis.ticks.size(); ++i)
    html += str("<span class=\"", type, i % 2 ? " second" : "", "\" style=\"", edge, ":",
                number(100 * axis.position(axis.ticks[i])), "%\">", format_tick(axis.ticks[i]), "</span>");
  return html;
}

std::string legend(const Chart& chart) {
  std::string html;
  for (const Curve& curve : chart.curves)
    if (!curve.name.empty() && !curve.points.empty())
      html +=
          str("<span", curve.faint ? " class=\"faint\"" : "", "><i style=\"background:var(--", curve.color,
              ")\"></i>", drawn_as_band(curve) ? "nine steps in ten" : escape_html(curve.name), "</span>");
  return html.empty() ? "" : "<span class=\"legend\">" + html + "</span>";
}

}  // namespace

std::string format_chart(const Chart& chart) {
  const auto empty = [](const Curve& curve) { return curve.points.empty(); };
  if (std::all_of(chart.curves.begin(), chart.curves.end(), empty)) return "";
  const Axis x = step_axis(chart), y = value_axis(chart);
  char range[160];
  std::snprintf(range, sizeof range, "%.9g %.9g %.9g %.9g %d", x.low, x.high, y.low, y.high, y.logarithmic);
  std::string html = str("<figure class=\"card chart", chart.wide ? " wide" : "", "\">\n<figcaption><b>",
                         escape_html(chart.title), "</b>", y.logarithmic ? "<small>log scale</small>" : "",
                         legend(chart), "</figcaption>\n<div class=\"plot\" data-x=\"",
                         escape_html(chart.x_name), "\" data-range=\"", range, "\">\n");
  html += "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" aria-hidden=\"true\">" + grid_lines(y);
  for (const Curve& curve : chart.curves)
    if (!curve.points.empty())
      html += str("\n<path class=\"",
                  drawn_as_band(curve) ? "band"
                  : curve.faint        ? "curve faint"
                                       : "curve",
                  "\" data-name=\"", escape_html(curve.name), "\" style=\"--color:var(--", curve.color,
                  ")\" d=\"", path_of(curve, x, y), "\"/>");
  return html + "</svg>\n" + labels(y, "y", "bottom") + "\n" + labels(x, "x", "left") +
         "\n</div>\n</figure>\n";
}

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '"': escaped += "&quot;"; break;
      case '\'': escaped += "&#39;"; break;
      default: escaped += c;
    }
  return escaped;
}

}  // namespace imago
