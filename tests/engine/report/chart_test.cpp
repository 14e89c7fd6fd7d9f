// What charts are made of: series that are smoothed and thinned, and axes whose ticks are round.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "engine/report/axis.h"
#include "engine/report/series.h"

namespace imago {
namespace {

TEST(ReportSeries, SmoothingIsATriangularAverage) {
  Series impulse;
  for (int i = 0; i < 21; ++i) impulse.push_back({static_cast<double>(i), i == 10 ? 9.0 : 0.0});
  const Series y = smooth(impulse, 1);  // weights 1 2 3 2 1, over 9
  const std::map<int, double> expected{{8, 1}, {9, 2}, {10, 3}, {11, 2}, {12, 1}};
  for (int i = 0; i < 21; ++i)
    EXPECT_NEAR(y[static_cast<size_t>(i)].y, expected.contains(i) ? expected.at(i) : 0, 1e-12);
  const Series constant(7, Point{0, 5});
  for (const Point& p : smooth(constant, 100)) EXPECT_DOUBLE_EQ(p.y, 5);  // the ends have no bias
  EXPECT_TRUE(smooth({}, 3).empty());
}

TEST(ReportSeries, ThinningKeepsEndsAndExtremes) {
  Series series;
  for (int i = 0; i < 12345; ++i) series.push_back({static_cast<double>(i), std::sin(i * 0.7)});
  series[5000].y = 50;
  series[7001].y = -50;
  const Series kept = thin(series, 100);
  EXPECT_LE(kept.size(), 100u);
  EXPECT_GE(kept.size(), 95u);
  EXPECT_EQ(kept.front().x, 0);
  EXPECT_EQ(kept.back().x, 12344);
  EXPECT_EQ(range_of(kept).low, -50);
  EXPECT_EQ(range_of(kept).high, 50);
  for (size_t i = 1; i < kept.size(); ++i) EXPECT_LT(kept[i - 1].x, kept[i].x);
  EXPECT_EQ(thin(series, 12345).size(), 12345u);
}

TEST(ReportSeries, ABandHoldsNineInTen) {
  Series series;
  for (int i = 0; i < 1000; ++i)
    series.push_back({static_cast<double>(i), static_cast<double>(i * 37 % 100)});
  const Band band = band_of(series, 10);  // every run of 100 holds 0 ... 99 once
  ASSERT_EQ(band.low.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(band.low[i].y, 5);
    EXPECT_EQ(band.high[i].y, 94);
    EXPECT_EQ(band.low[i].x, 100 * static_cast<double>(i) + 49.5);
  }
}

TEST(ReportAxis, TicksAreRoundAndInside) {
  for (const double low : {-3.7, 0.0, 0.013, 1e-7, 980.0})
    for (const double span : {1e-6, 0.03, 1.0, 77.0, 123456.0}) {
      const Axis axis = linear_axis(low, low + span, 5);
      EXPECT_GE(axis.ticks.size(), 3u) << low << " + " << span;
      EXPECT_LE(axis.ticks.size(), 8u) << low << " + " << span;
      for (const double tick : axis.ticks) {
        EXPECT_GT(axis.position(tick), -1e-6);
        EXPECT_LT(axis.position(tick), 1 + 1e-6);
      }
    }
  EXPECT_EQ(linear_axis(0, 1, 5).ticks.size(), 6u);
  EXPECT_EQ(linear_axis(2, 2, 5).position(2), 0.5);  // a constant lies in the middle
}

TEST(ReportAxis, LogarithmicTicks) {
  EXPECT_EQ(log_axis(0.009, 1.1, 5).ticks, (std::vector<double>{0.01, 0.03, 0.1, 0.3, 1}));
  EXPECT_EQ(log_axis(1, 1e6, 6).ticks.size(), 7u);
  EXPECT_EQ(log_axis(0.01, 100, 5).position(1), 0.5);
  EXPECT_LT(log_axis(1, 10, 5).position(0), 0);
  for (const double factor : {1.5, 3.0, 6.0, 50.0, 1e4, 1e12}) {
    const Axis axis = log_axis(0.7, 0.7 * factor, 5);
    EXPECT_GE(axis.ticks.size(), 2u) << factor;
    for (const double tick : axis.ticks) EXPECT_TRUE(tick >= axis.low && tick <= axis.high) << factor;
  }
}

TEST(ReportAxis, TickLabelsAreShort) {
  const std::map<double, std::string> expected{
      {0, "0"},           {0.05, "0.05"},   {1, "1"},         {2.5, "2.5"},    {1000, "1000"},
      {10000, "10k"},     {12500, "12.5k"}, {1e6, "1M"},      {1.5e6, "1.5M"}, {2e-5, "2e-5"},
      {2.5e-5, "2.5e-5"}, {1e-4, "1e-4"},   {0.001, "0.001"}, {-250, "-250"},  {1e-10, "1e-10"}};
  for (const auto& [value, text] : expected) EXPECT_EQ(format_tick(value), text);
  EXPECT_EQ(format_tick(3 * 2e-5), "6e-5");  // not 5.9999e-5
}

}  // namespace
}  // namespace imago
