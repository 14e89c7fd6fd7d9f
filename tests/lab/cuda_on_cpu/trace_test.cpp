// The report of bank conflicts and uncoalesced accesses, line by line, against what a pencil
// says about traced.cu.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace imago {
namespace {

/// The line of traced.cu that contains `text`.
int line_of(const std::string& text) {
  std::ifstream file(std::string(IMAGO_TESTS_DIR) + "/traced.cu");
  std::string line;
  for (int n = 1; std::getline(file, line); ++n)
    if (line.find(text) != std::string::npos) return n;
  ADD_FAILURE() << "traced.cu has no line with " << text;
  return 0;
}

struct Row {
  long requests = 0, cost = 0, ideal = 0;
};

Row find(const std::string& report, int line, const std::string& access) {
  std::istringstream in(report);
  const std::string site = "traced.cu:" + std::to_string(line) + " ";
  for (std::string text; std::getline(in, text);)
    if (text.rfind(site, 0) == 0 && text.find(access) != std::string::npos) {
      Row r;
      std::istringstream(text.substr(text.find(access) + access.size())) >> r.requests >> r.cost >> r.ideal;
      return r;
    }
  ADD_FAILURE() << "no row for " << site << access << " in\n" << report;
  return {};
}

void expect(const Row& r, long requests, long cost, long ideal) {
  EXPECT_EQ(r.requests, requests);
  EXPECT_EQ(r.cost, cost);
  EXPECT_EQ(r.ideal, ideal);
}

TEST(Trace, CountsPassesAndSectors) {
  std::string report;
  FILE* pipe = popen((std::string(IMAGO_TRACED) + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer;
  for (size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) report.append(buffer.data(), n);
  ASSERT_EQ(pclose(pipe), 0) << report;

  const int fill = line_of("both ideal"), turn = line_of("pitch 32");
  expect(find(report, fill, "global load  4 B"), 32, 128, 128);  // 4 warps x 8 rows of 128 bytes
  expect(find(report, fill, "shared store 4 B"), 32, 32, 32);
  expect(find(report, turn, "shared load  4 B"), 32, 1024, 32);  // all 32 lanes in one bank
  expect(find(report, turn, "global store 4 B"), 32, 128, 128);
  expect(find(report, line_of("x[8 * threadIdx.x]"), "global load  4 B"), 4, 128, 16);
  expect(find(report, line_of("ptx::cp_async(&tile"), "global load  16 B"), 8, 128, 128);
  expect(find(report, line_of("8 ways"), "shared load  16 B"), 1, 32, 4);
  expect(find(report, line_of("a row of chunks"), "shared load  16 B"), 1, 4, 4);
}

}  // namespace
}  // namespace imago
