// IDX, CIFAR-10 and atlases: good ones, truncated ones, and ones whose headers lie.
#include <stb_image_write.h>

#include <algorithm>

#include "engine/data/dataset.h"
#include "engine/data/sources.h"
#include "engine/image/png.h"
#include "tests/support/image_files.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;
using Bytes = std::vector<uint8_t>;
namespace fs = std::filesystem;

std::string idx(const std::vector<uint32_t>& extents, const std::string& data) {
  std::string s("\0\0\x08", 3);
  s.push_back(static_cast<char>(extents.size()));
  for (uint32_t e : extents) s += big_endian(e, 4);
  return s + data;
}

std::string counted(size_t n) {
  std::string s;
  for (size_t i = 0; i < n; ++i) s.push_back(static_cast<char>(i * 5));
  return s;
}

void expect_idx_content(const Dataset& set) {
  ASSERT_EQ(set.size(), 4);
  const Image p = set.image(2);
  EXPECT_EQ(p.height, 2);
  EXPECT_EQ(p.width, 3);
  EXPECT_EQ(p.channels, 1);
  EXPECT_EQ(p.pixels, (Bytes{60, 65, 70, 75, 80, 85}));
  EXPECT_EQ(set.label(0), 1);
  EXPECT_EQ(set.label(3), 4);
  EXPECT_EQ(set.class_names(), (std::vector<std::string>{"0", "1", "2", "3", "4"}));
}

TEST(Idx, PlainAndGzip) {
  TempFolder folder;
  put(folder / "plain/train-images-idx3-ubyte", idx({4, 2, 3}, counted(24)));
  put(folder / "plain/train-labels-idx1-ubyte", idx({4}, "\x01\x02\x03\x04"));
  expect_idx_content(*open_dataset(folder / "plain"));
  expect_idx_content(*open_dataset(folder / "plain/train-images-idx3-ubyte"));
  fs::create_directory(folder / "gz");
  gzip(folder / "gz/train-images-idx3-ubyte.gz", idx({4, 2, 3}, counted(24)));
  gzip(folder / "gz/train-labels-idx1-ubyte.gz", idx({4}, "\x01\x02\x03\x04"));
  gzip(folder / "gz/t10k-images-idx3-ubyte.gz", idx({1, 2, 3}, counted(6)));
  expect_idx_content(*open_dataset(folder / "gz"));
  const auto test = open_dataset(folder / "gz", {.split = "test"});
  EXPECT_EQ(test->size(), 1);
  EXPECT_EQ(test->label(0), -1);
  EXPECT_TRUE(test->class_names().empty());
  expect_bad_input({"splits train and test", "val"}, [&] { open_dataset(folder / "gz", {.split = "val"}); });
  expect_bad_input({"none of the split test"}, [&] { open_dataset(folder / "plain", {.split = "test"}); });
  put(folder / "colour/train-images-idx4-ubyte", idx({2, 1, 2, 3}, counted(12)));
  EXPECT_EQ(open_dataset(folder / "colour/train-images-idx4-ubyte")->image(1).pixels,
            (Bytes{30, 35, 40, 45, 50, 55}));
}

TEST(Idx, FashionMnistOfDebian) {
  const fs::path folder = "/usr/share/datasets/fashion-mnist";
  if (!fs::exists(folder)) GTEST_SKIP() << "the package dataset-fashion-mnist is not installed";
  const auto train = open_dataset(folder);
  EXPECT_EQ(train->size(), 60000);
  EXPECT_EQ(train->class_names().size(), 10u);
  EXPECT_EQ(train->image(59999).pixels.size(), 28u * 28);
  int64_t boots = 0;
  for (int64_t i = 0; i < train->size(); ++i) boots += train->label(i) == 9;
  EXPECT_EQ(boots, 6000);
  EXPECT_EQ(open_dataset(folder, {.split = "test"})->size(), 10000);
}

TEST(Idx, EveryTruncationIsNoticed) {
  TempFolder folder;
  const fs::path file = folder / "train-images-idx3-ubyte";
  const std::string whole = idx({4, 2, 3}, counted(24));
  for (size_t size = 0; size < whole.size(); ++size) {
    put(file, whole.substr(0, size));
    expect_bad_input({"train-images-idx3-ubyte: "}, [&] { open_dataset(folder.path()); });
  }
  put(file, whole + "x");
  expect_bad_input({"holds more than the 24 bytes"}, [&] { open_dataset(folder.path()); });
  fs::remove(file);
  gzip(file.string() + ".gz", whole);
  const std::string packed = get(file.string() + ".gz");
  for (size_t size = 0; size < packed.size(); ++size) {
    put(file.string() + ".gz", packed.substr(0, size));
    expect_bad_input({"train-images-idx3-ubyte.gz: "}, [&] { open_dataset(folder.path()); });
  }
  for (size_t at = packed.size() - 8; at < packed.size(); ++at) {  // checksum and length
    std::string damaged = packed;
    damaged[at] ^= 1;
    put(file.string() + ".gz", damaged);
    expect_bad_input({"damaged gzip file"}, [&] { open_dataset(folder.path()); });
  }
}

TEST(Idx, LyingHeaders) {
  TempFolder folder;
  const auto refused = [&](const std::string& content, const std::vector<std::string>& parts) {
    put(folder / "train-images-idx3-ubyte", content);
    expect_bad_input(parts, [&] { open_dataset(folder.path()); });
  };
  refused("PK\x03\x04....", {"not an IDX file"});
  refused(std::string("\0\0\x0d\x03", 4) + std::string(20, '\0'), {"element type 13"});
  refused(idx({0xffffffff, 0xffffffff, 0xffffffff}, ""), {"absurd size"});
  refused(idx({0xffffffff, 0xffff, 28}, "abc"),
          {"truncated", "3 are there"});  // nothing near 8 TB is allocated
  refused(idx({3, 1000000, 0}, ""), {"not a set of images"});
  refused(idx({0, 2, 3}, ""), {"not a set of images"});
  refused(idx({6}, "abcdef"), {"not a set of images", "[6]"});
  refused(idx({1, 1, 1, 2}, "ab"), {"not a set of images"});
  put(folder / "train-labels-idx1-ubyte", idx({3}, "abc"));
  refused(idx({2, 1, 1}, "ab"), {"train-labels-idx1-ubyte", "[3]", "[2]"});
}

std::string cifar_record(int label) {
  std::string record(1, static_cast<char>(label));
  for (int c = 0; c < 3; ++c)
    for (int p = 0; p < 1024; ++p) record.push_back(static_cast<char>(p % 64 + 64 * c + label));
  return record;
}

TEST(Cifar10, BinaryBatches) {
  TempFolder folder;
  for (int i = 1; i <= 5; ++i)
    put(folder / str("cifar-10-batches-bin/data_batch_", i, ".bin"), cifar_record(i) + cifar_record(i + 4));
  put(folder / "cifar-10-batches-bin/test_batch.bin", cifar_record(0));
  for (const fs::path& path : {folder.path(), folder / "cifar-10-batches-bin"}) {
    const auto set = open_dataset(path);
    ASSERT_EQ(set->size(), 10);
    EXPECT_EQ(set->label(3), 6);
    const Image p = set->image(3);
    EXPECT_EQ(p.channels, 3);
    for (size_t at : {size_t{0}, size_t{37}, size_t{1023}})
      for (size_t c = 0; c < 3; ++c) EXPECT_EQ(p.pixels[at * 3 + c], at % 64 + 64 * c + 6);
    EXPECT_EQ(set->class_names()[9], "9");
    EXPECT_EQ(open_dataset(path, {.split = "test"})->size(), 1);
  }
  put(folder / "cifar-10-batches-bin/batches.meta.txt", "airplane\nautomobile\n");
  EXPECT_EQ(open_dataset(folder.path())->class_names()[1], "automobile");
  EXPECT_EQ(open_dataset(folder / "cifar-10-batches-bin/data_batch_2.bin")->size(), 2);
}

TEST(Cifar10, DamagedBatches) {
  TempFolder folder;
  for (int i = 1; i <= 5; ++i) put(folder / str("data_batch_", i, ".bin"), cifar_record(i));
  const auto refused = [&](const std::vector<std::string>& parts) {
    expect_bad_input(parts, [&] { open_dataset(folder.path()); });
  };
  for (size_t size : {size_t{0}, size_t{1}, size_t{3072}}) {
    put(folder / "data_batch_4.bin", cifar_record(4).substr(0, size));
    refused({"data_batch_4.bin: truncated or not CIFAR-10", "3073"});
  }
  put(folder / "data_batch_4.bin", cifar_record(200));
  refused({"data_batch_4.bin", "label 200"});
  fs::remove(folder / "data_batch_4.bin");
  refused({"data_batch_4.bin", "No such file"});
  TempFolder python;
  put(python / "data_batch_1", "pickle");
  expect_bad_input({"Python version"}, [&] { open_dataset(python.path()); });
}

class Atlas : public ::testing::Test {
 protected:
  Atlas() {
    pixels_ = gradient(8, 12, 3);
    write_png(folder_ / "a.png", pixels_, 8, 12, 3);
    put(folder_ / "LICENSE", "free");
  }
  void describe(const std::string& json) { put(folder_ / "a.json", json); }
  void refused(const std::string& json, const std::vector<std::string>& parts) {
    describe(json);
    expect_bad_input(parts, [&] { open_dataset(folder_ / "a.json"); });
  }
  TempFolder folder_;
  Bytes pixels_;
};

TEST_F(Atlas, Tiles) {
  describe(R"({"tile": 4, "count": 5, "columns": 3, "notice": "from here"})");
  for (const fs::path& path : {folder_.path(), folder_ / "a.png", folder_ / "a.json"}) {
    const auto set = open_dataset(path);
    ASSERT_EQ(set->size(), 5);
    const Image p = set->image(4);  // row 1, column 1
    EXPECT_EQ(p.height, 4);
    EXPECT_EQ(p.width, 4);
    for (size_t y = 0; y < 4; ++y)
      for (size_t x = 0; x < 12; ++x) EXPECT_EQ(p.pixels[y * 12 + x], pixels_[(4 + y) * 36 + 12 + x]);
    EXPECT_EQ(set->label(4), -1);
  }
  describe(R"({"tile": 4, "count": 5, "columns": 3, "labels": [0, 1, 1, 0, 1], "classes": ["a", "b"]})");
  const auto set = open_dataset(folder_.path());
  EXPECT_EQ(set->label(4), 1);
  EXPECT_EQ(set->class_names(), (std::vector<std::string>{"a", "b"}));
}

TEST_F(Atlas, DescriptionsThatDoNotFit) {
  refused("{", {"a.json:1:", "not valid JSON"});
  refused(R"({"tile": 4, "count": 5})", {"a.json", "\"columns\""});
  refused(R"({"tile": 0, "count": 5, "columns": 3})", {"a.json", "\"tile\""});
  refused(R"({"tile": 4, "count": -5, "columns": 3})", {"a.json", "\"count\""});
  refused(R"({"tile": 4, "count": "5", "columns": 3})", {"a.json", "\"count\""});
  refused(R"({"tile": 4, "count": 7, "columns": 3})", {"a.png", "8x12", "3 rows of 3"});
  refused(R"({"tile": 4, "count": 5, "columns": 2})", {"a.png", "8x12"});
  refused(R"({"tile": 4, "count": 2, "columns": 3, "labels": [0, 0]})", {"classes"});
  refused(R"({"tile": 4, "count": 2, "columns": 3, "labels": [0], "classes": ["a"]})", {"list of 2 numbers"});
  refused(R"({"tile": 4, "count": 2, "columns": 3, "labels": [0, 1], "classes": ["a"]})", {"from 0 to 0"});
  refused(R"({"title": "not an atlas"})", {"not a data set"});
  describe(R"({"title": "an image with a note"})");  // an ordinary folder of one image then
  EXPECT_EQ(open_dataset(folder_.path())->size(), 1);
}

TEST_F(Atlas, EmojiOfTheRepository) {
  const fs::path folder = fs::path(IMAGO_SOURCE_DIR) / "data/emoji";
  const auto set = open_dataset(folder);
  EXPECT_GT(set->size(), 3000);
  const Image p = set->image(set->size() - 1);
  EXPECT_EQ(p.height, 32);
  EXPECT_EQ(p.width, 32);
  EXPECT_EQ(p.channels, 3);
  EXPECT_TRUE(std::any_of(p.pixels.begin(), p.pixels.end(), [](uint8_t v) { return v != 255; }));
  EXPECT_TRUE(fs::exists(folder / "LICENSE"));
}

}  // namespace
}  // namespace imago
