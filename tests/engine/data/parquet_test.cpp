// Parquet files of pyarrow and the datasets library, in every variant that people have, and damaged ones. The
// files are written by make_parquet.py, which says what is in them.
#include <algorithm>
#include <atomic>
#include <thread>

#include "engine/data/dataset.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;
using Names = std::vector<std::string>;
namespace fs = std::filesystem;

const fs::path kFiles = fs::path(IMAGO_SOURCE_DIR) / "tests/engine/data/parquet";

const DatasetOptions kQuiet{.broken_images = {.warn = [](const std::string&) {}}};
const DatasetOptions kStrict{.broken_images = {.refuse = true}};

std::vector<fs::path> files_in(const std::string& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(kFiles / folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<uint8_t> pixels_of_row(int row) {
  std::vector<uint8_t> pixels;
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 4; ++x)
      for (int c = 0; c < 3; ++c) pixels.push_back(static_cast<uint8_t>(37 * row + 50 * y + 11 * x + 90 * c));
  return pixels;
}

void expect_row(const Dataset& set, int64_t i, int row) {
  const Image image = set.image(i);
  EXPECT_EQ(image.height, 4);
  EXPECT_EQ(image.width, 4);
  EXPECT_EQ(image.channels, 3);
  EXPECT_EQ(image.pixels, pixels_of_row(row)) << set.name(i);
}

TEST(Parquet, SameContentInEveryEncodingAndCompression) {
  const auto files = files_in("same");
  ASSERT_EQ(files.size(), 32u);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.filename());
    Names warnings;
    const auto warn = [&](const std::string& message) { warnings.push_back(message); };
    const auto set = open_dataset(file, {.broken_images = {.warn = warn}});
    ASSERT_EQ(warnings.size(), 2u);
    EXPECT_TRUE(warnings[0].starts_with(file.string() + ", column im")) << warnings[0];
    EXPECT_TRUE(warnings[0].ends_with("row 3: no image (null); skipped")) << warnings[0];
    EXPECT_TRUE(warnings[1].ends_with("row 8: no image (null); skipped")) << warnings[1];
    ASSERT_EQ(set->size(), 10);
    EXPECT_EQ(set->class_names(), (Names{"cat", "dog", "owl"}));
    const std::vector<int> rows = {0, 1, 2, 4, 5, 6, 7, 9, 10, 11};
    for (int64_t k = 0; k < 10; ++k) {
      const int64_t i = 7 * k % 10;  // in some order
      const int row = rows[static_cast<size_t>(i)];
      expect_row(*set, i, row);
      EXPECT_EQ(set->label(i), row == 5 ? -1 : row % 3);
      EXPECT_EQ(set->name(i), str(file.string(), ", row ", row));
    }
    expect_bad_input({file.string(), "row 3: no image"}, [&] { open_dataset(file, kStrict); });
  }
}

TEST(Parquet, WithoutNullsAndAsTheDatasetsLibraryWritesIt) {
  const auto files = files_in("whole");
  ASSERT_EQ(files.size(), 4u);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.filename());
    const auto set = open_dataset(file, kStrict);
    ASSERT_EQ(set->size(), 12);
    EXPECT_EQ(set->class_names(), (Names{"cat", "dog", "owl"}));
    EXPECT_EQ(set->description(), "12 images, 3 classes, Parquet (" + file.string() + ")");
    for (int row = 11; row >= 0; --row) {
      expect_row(*set, row, row);
      EXPECT_EQ(set->label(row), row % 3);
    }
  }
}

TEST(Parquet, Labels) {
  Names warnings;
  const auto open = [&](const std::string& name) {
    warnings.clear();
    const auto warn = [&](const std::string& message) {
      if (!message.ends_with("skipped")) warnings.push_back(message);
    };
    const auto set = open_dataset(kFiles / "labels" / name, {.broken_images = {.warn = warn}});
    EXPECT_EQ(set->size(), 10);
    return set;
  };
  for (const char* name : {"booleans_v1.parquet", "booleans_rle.parquet"}) {
    const auto set = open(name);
    EXPECT_EQ(set->class_names(), (Names{"0", "1"}));
    EXPECT_EQ(set->label(0), 0);
    EXPECT_EQ(set->label(1), 1);
    EXPECT_EQ(set->label(9), 1);  // row 11
  }
  EXPECT_EQ(open("unnamed.parquet")->class_names(), (Names{"0", "1", "2"}));
  const auto hidden = open("hidden.parquet");  // all are -1
  EXPECT_TRUE(hidden->class_names().empty());
  EXPECT_EQ(hidden->label(4), -1);
  EXPECT_TRUE(warnings.empty());
  const std::vector<std::pair<std::string, std::string>> others = {{"text", "text"},
                                                                   {"lists", "a list of INT64"}};
  for (const auto& [name, kind] : others) {
    const auto set = open(name + ".parquet");
    EXPECT_EQ(set->label(0), -1);
    EXPECT_TRUE(set->class_names().empty());
    EXPECT_EQ(warnings, (Names{(kFiles / "labels" / (name + ".parquet")).string() + ", column label: " +
                               kind + "; expected INT32 or INT64: the images have no labels"}));
  }
  expect_bad_input({"too_large.parquet, column label, row 0: label 3; expected less than 3"},
                   [&] { open("too_large.parquet"); });
  expect_bad_input({"absurd.parquet, column label, row 0: label 1099511627776"},
                   [&] { open("absurd.parquet"); });
}

TEST(Parquet, WhatCannotBeReadIsNamed) {
  const std::vector<std::pair<std::string, Names>> refusals = {
      {"brotli", {"column image.bytes: compressed with BROTLI", "SNAPPY"}},
      {"byte_stream_split", {"column label, page", "INT64 in the encoding BYTE_STREAM_SPLIT"}},
      {"no_image", {"no column image or img", "id, photo, tags, label"}},
      {"image_urls", {"column image: text", "expected BYTE_ARRAY"}},
      {"image_lists", {"column image: a list of BYTE_ARRAY"}},
      {"image_numbers", {"column image: INT64"}},
      {"image_struct", {"column image: a group with image.data of BYTE_ARRAY", "{bytes, path}"}},
      {"image_nulls", {"every image is null"}},
      {"empty", {"no rows"}},
      {"not_json", {"metadata key huggingface", "not valid JSON"}}};
  for (const auto& [name, parts] : refusals) {
    const fs::path file = kFiles / "refused" / (name + ".parquet");
    Names all = parts;
    all.push_back(file.string());
    expect_bad_input(all, [&] { open_dataset(file, kQuiet); });
  }
  EXPECT_EQ(files_in("refused").size(), refusals.size());
}

TEST(Parquet, PageHeadersOfAnyLength) {
  const auto set = open_dataset(kFiles / "long_headers.parquet", kStrict);
  EXPECT_EQ(set->image(0).pixels.size(), 32u * 32 * 3);
}

TEST(Parquet, ShardsInByteOrderOfTheirNames) {
  const std::string whole = get(kFiles / "whole/required_v1.parquet");
  const std::string other = get(kFiles / "whole/datasets_library.parquet");
  for (const char* below : {"", "data/", "default/train/"}) {
    TempFolder folder;
    const std::string at = below;
    put(folder / (at + "train-00001-of-00002.parquet"), other);
    put(folder / (at + "train-00000-of-00002.parquet"), whole);
    if (at != "default/train/") put(folder / (at + "test-00000-of-00001.parquet"), whole);
    put(folder / "README.md", "about");
    put(folder / (at + ".hidden.parquet"), "x");
    const auto set = open_dataset(folder.path());
    ASSERT_EQ(set->size(), 24);
    for (int row = 0; row < 24; ++row) expect_row(*set, row, row % 12);
    EXPECT_EQ(set->name(13), (folder / (at + "train-00001-of-00002.parquet")).string() + ", row 1");
    EXPECT_NE(set->description().find("24 images, 3 classes, Parquet ("), std::string::npos);
    EXPECT_NE(set->description().find(", 2 files)"), std::string::npos);
    if (at == "default/train/") continue;
    EXPECT_EQ(open_dataset(folder.path(), {.split = "test"})->size(), 12);
    expect_bad_input({"of the split test, train, but none of validation"},
                     [&] { open_dataset(folder.path(), {.split = "validation"}); });
  }
  TempFolder unnamed;  // no splits in the names: all files belong to the set
  put(unnamed / "part-1.parquet", whole);
  put(unnamed / "part-0.parquet", other);
  EXPECT_EQ(open_dataset(unnamed.path())->size(), 24);
}

TEST(Parquet, ShardsMustAgree) {
  TempFolder folder;
  put(folder / "a.parquet", get(kFiles / "whole/required_v1.parquet"));
  const auto refused_with = [&](const std::string& file, const Names& parts) {
    put(folder / "b.parquet", get(kFiles / file));
    expect_bad_input(parts, [&] { open_dataset(folder.path(), kQuiet); });
  };
  refused_with("same/labels_int32.parquet", {"b.parquet: its label column is 'labels'", "'label'"});
  refused_with("labels/text.parquet", {"b.parquet: its label column is ''", "'label'"});
  refused_with("labels/unnamed.parquet", {"b.parquet: other class names"});
}

TEST(Parquet, SeveralThreadsReadTheSame) {
  const auto set = open_dataset(kFiles / "same/snappy_v1_dictionary.parquet", kQuiet);
  std::vector<std::vector<uint8_t>> alone;
  for (int64_t i = 0; i < set->size(); ++i) alone.push_back(set->image(i).pixels);
  const auto fresh = open_dataset(kFiles / "same/snappy_v1_dictionary.parquet", kQuiet);
  std::vector<std::thread> threads;
  std::atomic<int> equal{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int k = 0; k < 50; ++k) {
        const int64_t i = (k * 7 + t * 3) % fresh->size();
        equal += fresh->image(i).pixels == alone[static_cast<size_t>(i)];
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 200);
}

// A new file each time: truncating one that is there makes some file systems wait for the disk.
void put_anew(const fs::path& path, const std::string& content) {
  fs::remove(path);
  put(path, content);
}

// Opens a damaged file and decodes everything in it. True if nothing was noticed; whatever was noticed must
// be the file's fault, in one line.
bool survives(const fs::path& file) {
  try {
    const auto set = open_dataset(file, kQuiet);
    bool all = true;
    for (int64_t i = 0; i < set->size(); ++i) {
      try {
        set->image(i);
      } catch (const Error& e) {
        EXPECT_EQ(e.fault, Fault::kBadInput) << e.what();
        all = false;
      }
    }
    return all;
  } catch (const Error& e) {
    EXPECT_EQ(e.fault, Fault::kBadInput) << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return false;
  }
}

TEST(Parquet, EveryTruncationIsNoticed) {
  TempFolder folder;
  const std::string whole = get(kFiles / "same/one_row_group.parquet");
  for (size_t size = 0; size < whole.size(); ++size) {
    put_anew(folder / "cut.parquet", whole.substr(0, size));
    expect_bad_input({(folder / "cut.parquet").string() + ": "},
                     [&] { open_dataset(folder / "cut.parquet"); });
  }
  // Cut, but with an end that belongs to a whole file: the footer lies about what comes before it.
  const auto length =
      static_cast<uint8_t>(whole[whole.size() - 8]) + 256u * static_cast<uint8_t>(whole[whole.size() - 7]);
  const size_t footer = whole.size() - 8 - length;
  for (size_t size = 4; size < footer; size += 7) {
    put_anew(folder / "cut.parquet", whole.substr(0, size) + whole.substr(footer));
    EXPECT_FALSE(survives(folder / "cut.parquet")) << size;
  }
}

TEST(Parquet, EveryFlippedByteIsReadOrRefused) {
  TempFolder folder;
  int unnoticed = 0, refused = 0;
  for (const char* name : {"same/one_row_group.parquet", "same/none_v2_dictionary.parquet",
                           "same/delta_byte_array_v1.parquet", "whole/datasets_library.parquet"}) {
    const std::string whole = get(kFiles / name);
    for (size_t at = 0; at < whole.size(); ++at) {
      std::string damaged = whole;
      const char flips[] = {'\x01', '\x80', '\xff', '\x10'};
      damaged[at] = static_cast<char>(damaged[at] ^ flips[at % 4]);
      put_anew(folder / "damaged.parquet", damaged);
      ++(survives(folder / "damaged.parquet") ? unnoticed : refused);
    }
  }
  EXPECT_GT(unnoticed, 500);  // statistics, names of other columns
  EXPECT_GT(refused, 500);
}

TEST(Parquet, RandomDamageIsReadOrRefused) {
  TempFolder folder;
  uint32_t state = 1;  // fixed
  const auto random = [&](size_t bound) { return ((state = state * 1664525u + 1013904223u) >> 8) % bound; };
  const auto files = files_in("same");
  int refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string damaged = get(files[random(files.size())]);
    for (size_t i = 0; i <= random(4); ++i) {
      const size_t at = 4 + random(damaged.size() - 12);
      const char extremes[] = {'\0', '\x7f', '\x80', '\xff'};
      damaged[at] = random(2) ? static_cast<char>(random(256)) : extremes[random(4)];
    }
    put_anew(folder / "damaged.parquet", damaged);
    refused += !survives(folder / "damaged.parquet");
  }
  EXPECT_GT(refused, 200);
}

TEST(Parquet, ChecksumsAreChecked) {
  TempFolder folder;
  std::string bytes = get(kFiles / "same/checksums.parquet");
  const size_t png = bytes.find("IDAT");
  ASSERT_NE(png, std::string::npos);
  bytes[png + 5] ^= 1;
  put(folder / "damaged.parquet", bytes);
  // The page lies in a dictionary or beside it; null rows make it read at once.
  expect_bad_input({"damaged.parquet, column image.bytes, page at byte", "corrupt (checksum)"}, [&] {
    const auto set = open_dataset(folder / "damaged.parquet", kQuiet);
    for (int64_t i = 0; i < set->size(); ++i) set->image(i);
  });
}

TEST(Parquet, NotParquet) {
  TempFolder folder;
  const auto refused = [&](const std::string& content, const Names& parts) {
    put(folder / "a.parquet", content);
    expect_bad_input(parts, [&] { open_dataset(folder / "a.parquet"); });
  };
  refused("", {"a.parquet: not a Parquet file: 0 bytes"});
  refused("<html>not found</html>", {"a.parquet: not a Parquet file: it does not begin with PAR1"});
  refused("PARE............PARE", {"a.parquet: an encrypted Parquet file"});
  refused("PAR1............", {"a.parquet: truncated Parquet file"});
  refused(std::string("PAR1\xff\xff\xff\x7fPAR1", 12), {"a footer of 2147483647 bytes in 12"});
  refused(std::string("PAR1\0\0\0\0PAR1", 12), {"a.parquet: footer: corrupt Thrift"});
  fs::remove(folder / "a.parquet");
  fs::create_directory(folder /
                       "a.parquet");  // an empty folder of that name is an image folder without images
  expect_bad_input({"no images"}, [&] { open_dataset(folder / "a.parquet"); });
}

}  // namespace
}  // namespace imago
