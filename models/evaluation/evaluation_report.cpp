#include "models/evaluation/evaluation_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/report/chart.h"
#include "engine/report/progress.h"
#include "kernels/error.h"

namespace imago {
namespace {

using nlohmann::json;

std::string fixed(double value, int decimals) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

// ---- The table of samples ----

struct Column {
  const char* name;
  std::string (*cell)(const SamplesReport&);  // empty: not measured
};
const Column kColumns[] = {
    {"sampler", [](const SamplesReport& s) { return s.sampler; }},
    {"steps", [](const SamplesReport& s) { return s.steps ? std::to_string(*s.steps) : ""; }},
    {"evaluations",
     [](const SamplesReport& s) { return s.evaluations ? std::to_string(*s.evaluations) : ""; }},
    {"guidance",
     [](const SamplesReport& s) { return s.guidance_scale == 1 ? "" : format_rounded(s.guidance_scale); }},
    {"images", [](const SamplesReport& s) { return with_thousands(s.images); }},
    {"Frechet",
     [](const SamplesReport& s) { return s.frechet_distance ? fixed(*s.frechet_distance, 3) : ""; }},
    {"kernel",
     [](const SamplesReport& s) {
       return s.kernel_distance
                  ? fixed(s.kernel_distance->mean, 5) + " \u00b1 " + fixed(s.kernel_distance->std, 5)
                  : "";
     }},
    {"precision",
     [](const SamplesReport& s) {
       return s.precision_recall ? fixed(s.precision_recall->precision, 3) : "";
     }},
    {"recall",
     [](const SamplesReport& s) { return s.precision_recall ? fixed(s.precision_recall->recall, 3) : ""; }},
    {"accuracy", [](const SamplesReport& s) { return s.accuracy ? fixed(100 * *s.accuracy, 1) + " %" : ""; }},
};

struct Table {
  Cells names;
  std::vector<Cells> rows;
};

// Without the columns in which nothing stands.
Table table_of(const std::vector<SamplesReport>& samples) {
  Table table;
  table.rows.resize(samples.size());
  for (const Column& column : kColumns) {
    Cells cells;
    for (const SamplesReport& s : samples) cells.push_back(column.cell(s));
    if (std::all_of(cells.begin(), cells.end(), [](const std::string& c) { return c.empty(); })) continue;
    table.names.emplace_back(column.name);
    for (size_t i = 0; i < samples.size(); ++i)
      table.rows[i].push_back(cells[i].empty() ? "\u2013" : cells[i]);
  }
  return table;
}

// ---- Charts ----

std::string color(size_t i) {
  constexpr const char* kColors[] = {"accent", "q1", "q2", "q4", "q5", "q3", "q6"};
  return kColors[i % std::size(kColors)];
}

std::string frechet_chart(const std::vector<SamplesReport>& samples) {
  std::vector<Curve> curves;
  std::map<std::string, size_t> known;
  bool several = false;  // numbers of steps
  for (const SamplesReport& s : samples) {
    if (!s.steps || !s.frechet_distance) continue;
    const std::string guidance =
        s.guidance_scale == 1 ? "" : ", guidance " + format_rounded(s.guidance_scale);
    const auto [at, is_new] = known.emplace(s.sampler + guidance, curves.size());
    if (is_new) curves.push_back({at->first, color(curves.size()), {}, false});
    Series& points = curves[at->second].points;
    points.push_back({static_cast<double>(*s.steps), *s.frechet_distance});
    several = several || points.size() > 1;
  }
  if (!several) return "";
  for (Curve& curve : curves)
    std::stable_sort(curve.points.begin(), curve.points.end(),
                     [](const Point& a, const Point& b) { return a.x < b.x; });
  Chart chart;
  chart.title = "Frechet distance by number of steps";
  chart.curves = curves;
  chart.wide = true;
  chart.x_name = "steps";
  return format_chart(chart);
}

std::string timestep_chart(const LikelihoodReport& r, const std::string& title,
                           double TimestepBound::*value) {
  Chart chart;
  chart.title = title;
  chart.x_name = "timestep";
  chart.curves = {{"", "accent", {}, false}};
  for (size_t t = 0; t < r.by_timestep.size(); ++t)
    if (r.by_timestep[t].images > 0)
      chart.curves[0].points.push_back({static_cast<double>(t), r.by_timestep[t].*value});
  return format_chart(chart);
}

std::string loss_chart(const LossReport& r) {
  Chart chart;
  chart.title = "Loss by " + r.time_name;
  chart.x_name = r.time_name;
  chart.curves = {{"", "q1", {}, false}};
  for (const LossBin& bin : r.bins) chart.curves[0].points.push_back({(bin.first + bin.last) / 2, bin.loss});
  return format_chart(chart);
}

// ---- Facts ----

std::string facts(const Evaluation& e) {
  std::string html;
  if (e.likelihood)
    html += format_fact("Bits per dimension", fixed(e.likelihood->bits.mean, 3),
                        "\u00b1 " + fixed(e.likelihood->bits.half_width, 3));
  if (e.loss) html += format_fact("Loss", fixed(e.loss->mean, 4));
  if (e.samples.size() != 1) return html;
  const SamplesReport& s = e.samples[0];
  if (s.frechet_distance) html += format_fact("Frechet distance", fixed(*s.frechet_distance, 2));
  if (s.kernel_distance)
    html += format_fact("Kernel distance", fixed(s.kernel_distance->mean, 4),
                        "\u00b1 " + fixed(s.kernel_distance->std, 4));
  if (s.precision_recall) {
    html += format_fact("Precision", fixed(s.precision_recall->precision, 3));
    html += format_fact("Recall", fixed(s.precision_recall->recall, 3));
  }
  if (s.accuracy) html += format_fact("Accuracy", fixed(100 * *s.accuracy, 1), "%");
  return html;
}

// ---- JSON ----

json to_json(const LikelihoodReport& r) {
  json times = json::array();
  for (size_t t = 0; t < r.by_timestep.size(); ++t) {
    const TimestepBound& at = r.by_timestep[t];
    if (at.images > 0)
      times.push_back({{"timestep", t},
                       {"images", at.images},
                       {"bits", at.bits},
                       {"x0_error", at.x0_error},
                       {"epsilon_error", at.epsilon_error}});
  }
  return {{"bits_per_dimension", r.bits.mean},
          {"half_width_95", r.bits.half_width},
          {"images", r.images},
          {"timesteps", r.timesteps},
          {"evaluations_per_image", r.evaluations},
          {"prior", r.parts.prior},
          {"decoder", r.parts.decoder},
          {"steps", r.parts.steps},
          {"by_timestep", times}};
}

json to_json(const LossReport& r) {
  json bins = json::array();
  for (const LossBin& b : r.bins)
    bins.push_back({{"first", b.first}, {"last", b.last}, {"loss", b.loss}, {"draws", b.draws}});
  return {{"mean", r.mean}, {"draws", r.draws}, {"time", r.time_name}, {"bins", bins}};
}

json to_json(const SamplesReport& s) {
  json j = {{"sampler", s.sampler}, {"images", s.images}, {"guidance_scale", s.guidance_scale}};
  if (s.steps) j["steps"] = *s.steps;
  if (s.evaluations) j["evaluations"] = *s.evaluations;
  if (s.frechet_distance) j["frechet_distance"] = *s.frechet_distance;
  if (s.kernel_distance)
    j["kernel_distance"] = {{"mean", s.kernel_distance->mean},
                            {"std", s.kernel_distance->std},
                            {"subsets", s.kernel_distance->subsets},
                            {"subset_size", s.kernel_distance->subset_size}};
  if (s.precision_recall)
    j["precision"] = s.precision_recall->precision, j["recall"] = s.precision_recall->recall;
  if (s.accuracy) j["accuracy"] = *s.accuracy;
  return j;
}

}  // namespace

LikelihoodReport report_of(const VariationalBound& bound) {
  LikelihoodReport r;
  r.by_timestep = bound.timesteps();
  r.timesteps = static_cast<int>(r.by_timestep.size());
  r.evaluations = bound.evaluations();
  r.images = static_cast<int64_t>(bound.images().size());
  const auto n = static_cast<double>(r.images);
  for (const ImageBound& image : bound.images()) {
    r.parts.prior += image.prior / n;
    r.parts.decoder += image.decoder / n;
    r.parts.steps += image.steps / n;
  }
  double squares = 0;
  for (const ImageBound& image : bound.images())
    squares += (image.total() - r.parts.total()) * (image.total() - r.parts.total());
  r.bits = {r.parts.total(), 1.96 * std::sqrt(squares / std::max(1.0, n - 1) / n)};
  return r;
}

LossReport report_of(const LossByTime& loss) {
  constexpr int kBins = 20;
  return {loss.draws(), loss.mean(), loss.time_name(), loss.bins(kBins)};
}

json to_json(const Evaluation& e) {
  json settings = json::object(), samples = json::array();
  for (const auto& [name, value] : e.settings) settings[name] = value;
  for (const SamplesReport& s : e.samples) samples.push_back(to_json(s));
  json j = {{"title", e.title}, {"settings", settings}};
  if (!e.samples.empty()) j["samples"] = samples;
  if (e.likelihood) j["likelihood"] = to_json(*e.likelihood);
  if (e.loss) j["loss"] = to_json(*e.loss);
  return j;
}

std::string format_evaluation(const Evaluation& e) {
  Page page;
  page.title = e.title;
  page.subtitle = "evaluation";
  page.facts = facts(e);
  page.cards += frechet_chart(e.samples);
  const Table table = table_of(e.samples);
  page.cards += format_columns("Samples", table.names, table.rows);
  for (const auto& [heading, png] : e.images) {
    const EmbeddedPng image = embed_png(png, heading, heading);
    page.cards += str("<section class=\"card image", image.wide ? " wide" : "", "\">\n<h2>",
                      escape_html(heading), "</h2>\n", image.html, "\n</section>\n");
  }
  if (e.likelihood) {
    page.cards += timestep_chart(*e.likelihood, "Bits per dimension by timestep", &TimestepBound::bits);
    page.cards += timestep_chart(*e.likelihood, "Error of the predicted image", &TimestepBound::x0_error);
    page.cards +=
        timestep_chart(*e.likelihood, "Error of the predicted noise", &TimestepBound::epsilon_error);
  }
  if (e.loss) page.cards += loss_chart(*e.loss);
  page.cards += format_table("Settings", e.settings);
  return format_page(page);
}

std::string format_sample_line(const SamplesReport& samples) {
  const Table table = table_of({samples});
  std::string line;
  for (size_t c = 0; c < table.names.size(); ++c)
    line += (c == 0 ? "" : ", ") + table.names[c] + " " + table.rows[0][c];
  return line;
}

std::string format_samples_table(const std::vector<SamplesReport>& samples) {
  const Table table = table_of(samples);
  const auto width = [](const std::string& text) {  // UTF-8: without continuation bytes
    return static_cast<size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
  };
  std::vector<Cells> lines = {table.names};
  lines.insert(lines.end(), table.rows.begin(), table.rows.end());
  std::string text;
  for (const Cells& line : lines) {
    for (size_t c = 0; c < line.size(); ++c) {
      size_t widest = 0;
      for (const Cells& other : lines) widest = std::max(widest, width(other[c]));
      const std::string space(widest - width(line[c]), ' ');
      text += c == 0 ? line[c] + space : "  " + space + line[c];
    }
    text += "\n";
  }
  return text;
}

}  // namespace imago
