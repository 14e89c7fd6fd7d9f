#include "models/report/html_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/io/atomic_file.h"
#include "engine/report/chart.h"
#include "engine/report/page.h"
#include "engine/report/progress.h"
#include "kernels/error.h"

namespace imago {
namespace {

constexpr size_t kMostGrids = 40;

// ---- Curves ----

// Radius of the moving average: the curve is averaged over about 2 % of the run.
size_t radius_for(size_t points) {
  return points < 20 ? 0 : std::max<size_t>(2, points / 200);
}

template <class Get>
Series series_of(const std::vector<MetricsRow>& rows, Get get) {
  Series series;
  for (const MetricsRow& row : rows)
    if (const double y = get(row); std::isfinite(y)) series.push_back({static_cast<double>(row.step), y});
  return series;
}

Series smoothed(const Series& series) {
  return smooth(series, radius_for(series.size()));
}

// The values as they are, faint, behind their average.
Chart averaged_chart(const std::string& title, const std::string& color, const Series& raw) {
  Chart chart;
  chart.title = title;
  chart.curves = {{"", color, raw, true}, {"", color, smoothed(raw), false}};
  return chart;
}

std::string loss_chart(const std::vector<MetricsRow>& rows) {
  Chart chart = averaged_chart("Loss", "accent", series_of(rows, [](const MetricsRow& r) { return r.loss; }));
  chart.wide = true;
  chart.curves[0].name = "every step";
  chart.curves[1].name = "average";
  return format_chart(chart);
}

std::string quartile_chart(const std::vector<MetricsRow>& rows) {
  constexpr const char* kNames[] = {"0\u201325%", "25\u201350%", "50\u201375%", "75\u2013100%"};
  Chart chart;
  chart.title = "Loss by timestep";
  for (size_t q = 0; q < 4; ++q)
    chart.curves.push_back(
        {kNames[q], "q" + std::to_string(q + 1),
         smoothed(series_of(rows, [q](const MetricsRow& r) { return r.loss_by_quartile[q]; }))});
  return format_chart(chart);
}

std::string learning_rate_chart(const std::vector<MetricsRow>& rows) {
  Chart chart;
  chart.title = "Learning rate";
  chart.from_zero = true;
  chart.curves = {{"", "cool", series_of(rows, [](const MetricsRow& r) { return r.learning_rate; })}};
  return format_chart(chart);
}

std::string gradient_chart(const std::vector<MetricsRow>& rows) {
  return format_chart(averaged_chart("Gradient norm", "cool",
                                     series_of(rows, [](const MetricsRow& r) { return r.grad_norm; })));
}

Series speeds(const std::vector<MetricsRow>& rows) {
  return series_of(rows,
                   [](const MetricsRow& r) { return r.images_per_second > 0 ? r.images_per_second : NAN; });
}

std::string speed_chart(const std::vector<MetricsRow>& rows) {
  Chart chart = averaged_chart("Images per second", "q2", speeds(rows));
  chart.from_zero = true;
  return format_chart(chart);
}

// ---- The facts at the top ----

std::string facts(const ReportData& data) {
  if (data.metrics.empty()) return "";
  const MetricsRow& last = data.metrics.back();
  const double seconds = std::accumulate(data.metrics.begin(), data.metrics.end(), 0.0,
                                         [](double sum, const MetricsRow& r) { return sum + r.seconds; });
  std::string html;
  html += format_fact("Steps", with_thousands(last.step),
                      data.total_steps > 0 ? "of " + with_thousands(data.total_steps) : "");
  html += format_fact("Images seen", with_thousands(last.images));
  if (const Series loss = series_of(data.metrics, [](const MetricsRow& r) { return r.loss; }); !loss.empty())
    html += format_fact("Loss", format_rounded(smoothed(loss).back().y));
  if (Series speed = speeds(data.metrics); !speed.empty()) {
    const auto middle = speed.begin() + static_cast<ptrdiff_t>(speed.size() / 2);
    std::nth_element(speed.begin(), middle, speed.end(),
                     [](const Point& a, const Point& b) { return a.y < b.y; });
    html += format_fact("Speed", format_rounded(middle->y), "images/s");
  }
  if (seconds > 0) html += format_fact("Training time", format_duration(seconds));
  return html;
}

// ---- Sample grids ----

EmbeddedPng embedded(const SampleGrid& grid) {
  const std::string name =
      grid.file.empty() ? str("the sample grid of step ", grid.step) : grid.file.string();
  return embed_png(grid.file.empty() ? grid.png : read_file(grid.file), name,
                   "samples at step " + with_thousands(grid.step));
}

// Spread over the run, the last one included.
std::vector<SampleGrid> chosen(const std::vector<SampleGrid>& grids) {
  if (grids.size() <= kMostGrids) return grids;
  std::vector<SampleGrid> some;
  for (size_t i = 0; i < kMostGrids; ++i) some.push_back(grids[i * (grids.size() - 1) / (kMostGrids - 1)]);
  return some;
}

// A radio button, its label and the image it shows, for each grid: plain HTML and CSS switch between them.
std::string samples(const ReportData& data) {
  if (data.grids.empty()) return "";
  const std::vector<SampleGrid> grids = chosen(data.grids);
  std::string html;
  bool wide = false;
  const bool one = grids.size() == 1;
  for (size_t i = 0; i < grids.size(); ++i) {
    const EmbeddedPng png = embedded(grids[i]);
    wide = wide || png.wide;
    const std::string step = with_thousands(grids[i].step), id = "grid" + std::to_string(i);
    html += str("<input type=\"radio\" name=\"grid\" id=\"", id, "\" value=\"", step, "\"",
                i + 1 == grids.size() ? " checked" : "", "><label for=\"", id, "\">", step,
                "</label>\n<figure>", png.html, "</figure>\n");
  }
  return str("<section class=\"card samples", wide ? " wide" : "", one ? " slid" : "",
             "\">\n<h2>Samples<small>after ", one ? with_thousands(grids[0].step) : "so many",
             " steps</small></h2>\n", html, "</section>\n");
}

// ---- Tables ----

std::string config_table(const ReportData::Table& rows) {
  if (rows.empty()) return "";
  std::string html = "<section class=\"card wide\">\n<h2>Configuration</h2>\n<div class=\"columns\">\n";
  for (const auto& [name, value] : rows)
    html += str("<div><span>", escape_html(name), "</span><span>", escape_html(value), "</span></div>\n");
  return html + "</div>\n</section>\n";
}

}  // namespace

std::string format_report(const ReportData& data) {
  const std::string between = data.subtitle.empty() || data.status.empty() ? "" : " \u00b7 ";
  Page page;
  page.title = data.title;
  page.subtitle = data.subtitle + between + data.status;
  page.facts = facts(data);
  page.cards = loss_chart(data.metrics) + samples(data) + quartile_chart(data.metrics) +
               learning_rate_chart(data.metrics) + gradient_chart(data.metrics) + speed_chart(data.metrics) +
               format_table("Model", data.model) + format_table("Environment", data.environment) +
               config_table(data.config);
  return format_page(page);
}

void write_report(const std::filesystem::path& path, const ReportData& data) {
  write_file(path, format_report(data));
}

}  // namespace imago
