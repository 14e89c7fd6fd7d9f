// report.html: the curves say what the rows say, the images are the images, nothing outside is needed, and
// no input breaks the page.
#include "models/report/html_report.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "engine/image/png.h"
#include "engine/report/series.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using test::expect_bad_input;
using test::expect_error;
using test::get;
using test::put;
using test::TempFolder;

std::string png_of(uint8_t value, int width = 6, int height = 4) {
  return encode_png(std::vector<uint8_t>(static_cast<size_t>(width * height), value), height, width, 1);
}

ReportData report_of(int64_t steps) {
  ReportData data;
  data.title = "garments";
  data.total_steps = steps;
  for (int64_t step = 1; step <= steps; ++step) {
    MetricsRow row;
    row.step = step;
    row.images = 16 * step;
    row.loss = 0.5f + 0.3f * std::sin(static_cast<float>(step));
    row.loss_by_quartile = {0.1f, 0.2f, step % 3 ? 0.3f : kNotMeasured, kNotMeasured};
    row.learning_rate = 1e-4;
    row.grad_norm = 1;
    row.seconds = 0.5;
    row.images_per_second = 32;
    data.metrics.push_back(row);
  }
  return data;
}

int count(const std::string& text, const std::string& what) {
  int n = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

std::string between(const std::string& text, const std::string& before, const std::string& after,
                    size_t from = 0) {
  const size_t start = text.find(before, from);
  if (start == text.npos) return "";
  return text.substr(start + before.size(), text.find(after, start + before.size()) - start - before.size());
}

// The chart of this title, read back: the points of every drawn path, in the units of the axes.
struct ReadChart {
  std::vector<Series> paths;
  bool logarithmic = false;
  double x_low = 0, x_high = 0, y_low = 0, y_high = 0;
};

ReadChart read_chart(const std::string& html, const std::string& title) {
  ReadChart chart;
  const std::string figure = between(html, "<figcaption><b>" + title + "</b>", "</figure>");
  std::istringstream(between(figure, "data-range=\"", "\"")) >> chart.x_low >> chart.x_high >> chart.y_low >>
      chart.y_high >> chart.logarithmic;
  for (size_t at = figure.find("data-name="); at != figure.npos; at = figure.find("data-name=", at + 1)) {
    std::string d = between(figure, " d=\"", "\"", at);
    std::replace_if(
        d.begin(), d.end(), [](char c) { return c == 'M' || c == 'L' || c == 'Z'; }, ' ');
    std::istringstream numbers(d);
    Series points;
    for (double x, y; numbers >> x >> y;) {
      const double up = 1 - y / 1000;
      points.push_back({chart.x_low + (chart.x_high - chart.x_low) * x / 1000,
                        chart.logarithmic ? chart.y_low * std::pow(chart.y_high / chart.y_low, up)
                                          : chart.y_low + (chart.y_high - chart.y_low) * up});
    }
    chart.paths.push_back(points);
  }
  return chart;
}

TEST(Report, AShortRunIsDrawnPointForPoint) {
  const ReportData data = report_of(300);
  const ReadChart chart = read_chart(format_report(data), "Loss");
  ASSERT_EQ(chart.paths.size(), 2u);  // every step, and the average
  ASSERT_EQ(chart.paths[0].size(), 300u);
  const double pixel = (chart.y_high - chart.y_low) / 1000;
  for (size_t i = 0; i < 300; ++i) {
    const MetricsRow& row = data.metrics[i];
    EXPECT_NEAR(chart.paths[0][i].x, static_cast<double>(row.step),
                (chart.x_high - chart.x_low) * 0.06 / 1000);
    if (row.loss > chart.y_low && row.loss < chart.y_high) {
      EXPECT_NEAR(chart.paths[0][i].y, row.loss, 0.06 * pixel);
    }
  }
  for (const Point& p : chart.paths[1]) EXPECT_NEAR(p.y, 0.5, 0.3);
}

TEST(Report, ValuesOverManyOrdersAreDrawnLogarithmically) {
  ReportData data = report_of(50);
  for (MetricsRow& row : data.metrics) row.grad_norm = 100 * std::pow(0.8f, static_cast<float>(row.step));
  const ReadChart chart = read_chart(format_report(data), "Gradient norm");
  EXPECT_TRUE(chart.logarithmic);
  for (size_t i = 0; i < 50; ++i) {  // a tenth of an SVG unit of a logarithmic axis is a factor
    const double factor = std::pow(chart.y_high / chart.y_low, 0.06 / 1000);
    EXPECT_NEAR(std::log(chart.paths[0][i].y / data.metrics[i].grad_norm), 0, std::log(factor) * 1.01);
  }
}

TEST(Report, QuartilesLeaveOutWhatWasNotMeasured) {
  const ReadChart chart = read_chart(format_report(report_of(90)), "Loss by timestep");
  ASSERT_EQ(chart.paths.size(), 3u);  // nothing ever fell into the fourth
  EXPECT_EQ(chart.paths[0].size(), 90u);
  EXPECT_EQ(chart.paths[2].size(), 60u);
  const double unit = (chart.y_high - chart.y_low) / 1000;
  for (const Point& p : chart.paths[2]) EXPECT_NEAR(p.y, 0.3, 0.06 * unit);
}

TEST(Report, ALongRunStaysSmall) {
  const std::string html = format_report(report_of(100000));
  for (const char* title :
       {"Loss", "Loss by timestep", "Learning rate", "Gradient norm", "Images per second"}) {
    const ReadChart chart = read_chart(html, title);
    EXPECT_FALSE(chart.paths.empty()) << title;
    for (const Series& path : chart.paths) {
      EXPECT_LE(path.size(), 1000u) << title;
      EXPECT_GE(path.size(), 400u) << title;
    }
  }
  EXPECT_LT(html.size(), 250000u);
}

TEST(Report, NeedsNothingFromOutside) {
  ReportData data = report_of(20);
  data.grids = {{10, {}, png_of(1)}, {20, {}, png_of(2)}};
  const std::string html = format_report(data);
  EXPECT_EQ(count(html, "http"), 1);  // the name space in the icon, which nobody fetches
  EXPECT_NE(html.find("xmlns='http://www.w3.org/2000/svg'"), html.npos);
  for (size_t at = html.find("src=\""); at != html.npos; at = html.find("src=\"", at + 1))
    EXPECT_EQ(html.substr(at + 5, 5), "data:");
  EXPECT_EQ(count(html, "href=\""), 1);
  EXPECT_NE(html.find("href=\"data:image/svg+xml,"), html.npos);
  EXPECT_EQ(html.find("@import"), html.npos);
  EXPECT_EQ(html.find("url("), html.npos);
  EXPECT_EQ(html, format_report(data)) << "not a function of the data";
}

std::string from_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(digits.find(c));
    if ((held += 6) >= 8) bytes += static_cast<char>(bits >> (held -= 8) & 255);
  }
  EXPECT_EQ(text.size() % 4, 0u);
  return bytes;
}

TEST(Report, SampleGridsComeFromBytesAndFiles) {
  TempFolder folder;
  ReportData data = report_of(3);
  std::vector<std::string> pngs;
  for (int i = 0; i < 3; ++i) pngs.push_back(png_of(static_cast<uint8_t>(i), 5 + i));  // any length modulo 3
  put(folder / "step-200.png", pngs[1]);
  data.grids = {{100, {}, pngs[0]}, {200, folder / "step-200.png", ""}, {1300, {}, pngs[2]}};
  const std::string html = format_report(data);
  size_t at = 0;
  for (const std::string& png : pngs) {
    at = html.find("base64,", at) + 1;
    EXPECT_EQ(from_base64(between(html, "base64,", "\"", at - 1)), png);
  }
  EXPECT_EQ(count(html, " checked>"), 1);
  EXPECT_NE(html.find("id=\"grid2\" value=\"1,300\" checked><label for=\"grid2\">1,300</label>"), html.npos);
  EXPECT_NE(html.find("alt=\"samples at step 100\" width=\"480\" height=\"384\""),
            html.npos);  // 5x4, 96 times
}

TEST(Report, OfVeryManyGridsSomeAreShownAndTheLast) {
  ReportData data = report_of(3);
  for (int i = 1; i <= 333; ++i) data.grids.push_back({i, {}, png_of(0)});
  const std::string html = format_report(data);
  EXPECT_EQ(count(html, "<figure><img"), 40);
  EXPECT_NE(html.find("samples at step 1\""), html.npos);
  EXPECT_NE(html.find("samples at step 333\""), html.npos);
}

TEST(Report, RefusesWhatIsNoImage) {
  TempFolder folder;
  put(folder / "grid.png", "GIF89a, not a PNG, and long enough for one");
  ReportData data = report_of(3);
  data.grids = {{1, folder / "grid.png", ""}};
  expect_bad_input({"grid.png: not a PNG"}, [&] { format_report(data); });
  data.grids = {{1, folder / "none.png", ""}};
  expect_bad_input({"none.png: cannot read"}, [&] { format_report(data); });
  data.grids = {{7, {}, png_of(1).substr(0, 20)}};
  expect_bad_input({"the sample grid of step 7: not a PNG"}, [&] { format_report(data); });
}

TEST(Report, TextIsEscaped) {
  ReportData data = report_of(3);
  const std::string evil = "<script>&\"'";
  data.title = data.subtitle = data.status = evil;
  data.model = data.config = data.environment = {{evil, evil}};
  const std::string html = format_report(data);
  EXPECT_EQ(count(html, "<script>"), 1);  // the page's own
  EXPECT_EQ(count(html, "&lt;script&gt;&amp;&quot;&#39;"), 2 + 2 + 6);
}

TEST(Report, LeavesOutWhatThereIsNot) {
  ReportData data;
  data.title = "nothing yet";
  const std::string html = format_report(data);
  for (const char* part : {"<figure", "<table", "<section", "<dl", "nan", "inf"})
    EXPECT_EQ(html.find(part), html.npos) << part;
  EXPECT_NE(html.find("<h1>nothing yet</h1>"), html.npos);
}

TEST(Report, OneStepOrConstantOrNonFiniteValuesMakeAPage) {
  ReportData one = report_of(1), odd = report_of(40);
  for (MetricsRow& row : odd.metrics) {
    row.loss = row.step % 2 ? INFINITY : 0;
    row.learning_rate = 0;
    row.grad_norm = row.step == 5 ? 1e30f : 0;
    row.images_per_second = 0;
  }
  for (const ReportData& data : {one, odd}) {
    std::string html = format_report(data);
    html.resize(html.find("<script>"));
    EXPECT_EQ(html.find("nan"), html.npos);
    EXPECT_EQ(html.find("inf"), html.npos);
    EXPECT_NE(html.find("<b>Loss</b>"), html.npos);
  }
  EXPECT_NE(format_report(one).find("h0\"/>"), std::string::npos) << "a lone point is a dot";
}

TEST(Report, FactsSumUpTheRun) {
  ReportData data = report_of(200);
  data.total_steps = 1000;
  const std::string html = format_report(data);
  EXPECT_NE(html.find("<dt>Steps</dt><dd>200 <small>of 1,000</small>"), html.npos);
  EXPECT_NE(html.find("<dt>Images seen</dt><dd>3,200<"), html.npos);
  EXPECT_NE(html.find("<dt>Speed</dt><dd>32 <small>images/s</small>"), html.npos);
  EXPECT_NE(html.find("<dt>Training time</dt><dd>1:40<"), html.npos);
}

TEST(Report, IsWrittenAtomically) {
  TempFolder folder;
  write_report(folder / "report.html", report_of(5));
  EXPECT_EQ(get(folder / "report.html"), format_report(report_of(5)));
  EXPECT_EQ(folder.names(), std::vector<std::string>{"report.html"});
  expect_error(Fault::kFailure, {"cannot write"},
               [&] { write_report(folder / "no" / "r.html", report_of(1)); });
}

}  // namespace
}  // namespace imago
