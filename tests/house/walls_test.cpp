// The walls of the house: docs/architecture.md says which folder may include which, and the code is held to
// it.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace imago {
namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

/// A row of the map: the files below `folder` (and below no longer folder of the map) may include those below
/// `may_include`; "engine/*" stands for every folder above it in the map that begins with "engine/".
struct Room {
  std::string folder;
  Lines may_include;
};
using HouseMap = std::vector<Room>;  // from the ground up

struct SourceFile {
  std::string path;  // from the root of the project
  Lines lines;
};

Lines lines_of(std::istream& in) {
  Lines lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// The names between backquotes.
Lines quoted(const std::string& text) {
  static const std::regex name("`([^`]+)`");
  Lines names;
  for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it)
    names.push_back((*it)[1]);
  return names;
}

/// The table whose first heading is "folder" and whose second is "may include".
HouseMap read_map(const Lines& page) {
  HouseMap map;
  bool inside = false;
  for (const std::string& line : page) {
    if (line.rfind("| folder | may include |", 0) == 0) inside = true;
    if (!inside) continue;
    if (line.empty() || line[0] != '|') break;
    const size_t second = line.find('|', 1), third = line.find('|', second + 1);
    const Lines folder = quoted(line.substr(0, second));
    if (!folder.empty()) map.push_back({folder[0], quoted(line.substr(second, third - second))});
  }
  return map;
}

bool lies_in(const std::string& path, const std::string& folder) {
  return path.rfind(folder + "/", 0) == 0;
}

/// The room with the longest name that holds this file, or null.
const Room* room_of(const HouseMap& map, const std::string& path) {
  const Room* found = nullptr;
  for (const Room& room : map)
    if (lies_in(path, room.folder) && (!found || room.folder.size() > found->folder.size())) found = &room;
  return found;
}

bool may_include(const Room& from, const Room& to) {
  if (from.folder == to.folder) return true;
  return std::any_of(from.may_include.begin(), from.may_include.end(), [&to](const std::string& name) {
    return name.ends_with("/*") ? lies_in(to.folder + "/", name.substr(0, name.size() - 2))
                                : name == to.folder;
  });
}

/// "engine/ops/conv2d.h:5: engine/ops may not include engine/nn (engine/nn/module.h)"
Lines broken_arrows(const HouseMap& map, const std::vector<SourceFile>& files) {
  static const std::regex include("^\\s*#\\s*include\\s+\"([^\"]+)\"");
  Lines broken;
  for (const SourceFile& file : files) {
    const Room* from = room_of(map, file.path);
    if (!from) {
      broken.push_back(file.path + ": lies in no folder of the map");
      continue;
    }
    for (size_t i = 0; i < file.lines.size(); ++i) {
      std::smatch match;
      if (!std::regex_search(file.lines[i], match, include)) continue;
      const Room* to = room_of(map, match[1]);
      if (to && may_include(*from, *to)) continue;
      broken.push_back(file.path + ":" + std::to_string(i + 1) + ": " + from->folder + " may not include " +
                       (to ? to->folder : "what is on no map") + " (" + match[1].str() + ")");
    }
  }
  return broken;
}

/// Rows that allow what does not stand above them: arrows that would point up or sideways.
Lines upward_rows(const HouseMap& map) {
  Lines wrong;
  for (size_t i = 0; i < map.size(); ++i) {
    for (const std::string& name : map[i].may_include) {
      if (name.ends_with("/*")) continue;
      const auto below = map.begin() + static_cast<std::ptrdiff_t>(i);
      if (std::none_of(map.begin(), below, [&name](const Room& r) { return r.folder == name; }))
        wrong.push_back(map[i].folder + " -> " + name);
    }
  }
  return wrong;
}

/// Lines that match, "FILE:LINE: TEXT".
Lines lines_matching(const std::vector<SourceFile>& files, const std::string& folder,
                     const std::regex& what) {
  Lines found;
  for (const SourceFile& file : files) {
    if (!lies_in(file.path, folder)) continue;
    for (size_t i = 0; i < file.lines.size(); ++i) {
      if (std::regex_search(file.lines[i], what))
        found.push_back(file.path + ":" + std::to_string(i + 1) + ": " + file.lines[i]);
    }
  }
  return found;
}

std::string joined(const Lines& lines) {
  std::string text;
  for (const std::string& line : lines) text += "  " + line + "\n";
  return text;
}

class Walls : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const fs::path root = IMAGO_SOURCE_DIR;
    std::ifstream page(root / "docs/architecture.md");
    map_ = read_map(lines_of(page));
    for (const char* tree : {"kernels", "engine", "models", "apps", "lab", "bench", "examples"}) {
      for (const auto& entry : fs::recursive_directory_iterator(root / tree)) {
        const std::string ending = entry.path().extension();
        if (ending != ".h" && ending != ".cpp" && ending != ".cu") continue;
        std::ifstream in(entry.path());
        files_.push_back({entry.path().lexically_relative(root).string(), lines_of(in)});
      }
    }
  }
  static inline HouseMap map_;
  static inline std::vector<SourceFile> files_;
};

TEST_F(Walls, EveryIncludeIsOnTheMap) {
  ASSERT_GT(map_.size(), 20u) << "docs/architecture.md: no table `folder | may include`";
  ASSERT_GT(files_.size(), 200u);
  const Lines broken = broken_arrows(map_, files_);
  EXPECT_TRUE(broken.empty()) << joined(broken);
}

TEST_F(Walls, TheMapHasNoArrowUpOrSideways) {
  const Lines wrong = upward_rows(map_);
  EXPECT_TRUE(wrong.empty()) << joined(wrong);
}

TEST_F(Walls, ModelsReachBackendsThroughOneDoor) {
  Lines calls = lines_matching(files_, "models", std::regex("\\bbackend_of\\b"));
  std::erase_if(calls,
                [](const std::string& line) { return line.rfind("models/diffusion/ops.cpp:", 0) == 0; });
  EXPECT_TRUE(calls.empty()) << joined(calls);
}

TEST_F(Walls, TheEngineKnowsNoDiffusion) {
  const std::regex words("timestep|alpha_bar|q_sample|sampler_step|noise_schedule|\\bddpm|\\bddim|u-?net\\b",
                         std::regex::icase);
  Lines found = lines_matching(files_, "engine", words);
  // It stands in front of a whole backend, so it has the name of every operation of the contract.
  std::erase_if(found,
                [](const std::string& l) { return l.rfind("engine/autograd/watched_backend.h:", 0) == 0; });
  EXPECT_TRUE(found.empty()) << joined(found);
}

TEST_F(Walls, OptionNamesAreInAppsOnly) {
  for (const char* tree : {"kernels", "engine", "models"}) {
    const Lines found = lines_matching(files_, tree, std::regex("[^\\\\]\"--[a-z]"));
    EXPECT_TRUE(found.empty()) << joined(found);
  }
}

// The checks themselves, on a house with planted faults.

const HouseMap kSmall = {{"ground", {}}, {"ground/deep", {"ground"}}, {"first", {"ground/*"}}};

TEST(WallsChecks, FindAnArrowUpSidewaysAndOffTheMap) {
  const auto check = [](const std::string& path, const std::string& include) {
    return broken_arrows(kSmall, {{path, {"#include <vector>", "#include \"" + include + "\""}}}).size();
  };
  EXPECT_EQ(check("first/a.h", "ground/a.h"), 0u);
  EXPECT_EQ(check("first/a.h", "ground/deep/a.h"), 0u);
  EXPECT_EQ(check("ground/deep/a.h", "ground/a.h"), 0u);
  EXPECT_EQ(check("ground/a.h", "ground/deep/a.h"), 1u);
  EXPECT_EQ(check("ground/a.h", "first/a.h"), 1u);
  EXPECT_EQ(check("first/a.h", "attic/a.h"), 1u);
  EXPECT_EQ(broken_arrows(kSmall, {{"attic/a.h", {}}}).size(), 1u);
}

TEST(WallsChecks, ReadTheMapFromThePage) {
  const HouseMap map =
      read_map({"text", "| folder | may include | what it is |", "|---|---|---|", "| `a` | nothing | |",
                "| `b/c`, more | `a`, `d/*` | `e` |", "", "| `e` | `a` | |"});
  ASSERT_EQ(map.size(), 2u);
  EXPECT_EQ(map[1].folder, "b/c");
  EXPECT_EQ(map[1].may_include, (Lines{"a", "d/*"}));
}

TEST(WallsChecks, FindARowThatPointsUp) {
  EXPECT_TRUE(upward_rows(kSmall).empty());
  EXPECT_EQ(upward_rows({{"a", {"b"}}, {"b", {}}}).size(), 1u);
}

}  // namespace
}  // namespace imago
