// Parts of sets, and which sets have a part for testing.
#include "engine/data/subset.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/image_files.h"
#include "tests/support/striped_images.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;

std::set<std::string> names_of(const Dataset& set) {
  std::set<std::string> names;
  for (int64_t i = 0; i < set.size(); ++i) names.insert(set.name(i));
  return names;
}

TEST(Subset, HasImagesAndClassesOfTheWhole) {
  const auto whole = std::make_shared<Stripes>(10);
  const auto part = subset_of(whole, {7, 2});
  ASSERT_EQ(part->size(), 2);
  EXPECT_EQ(part->image(0).pixels, whole->image(7).pixels);
  EXPECT_EQ(part->label(0), 1);
  EXPECT_EQ(part->label(1), 0);
  EXPECT_EQ(part->name(1), "stripes 2");
  EXPECT_EQ(part->class_names(), whole->class_names());
  EXPECT_EQ(part->description(), "2 of 10 stripes");
  EXPECT_THROW(subset_of(whole, {10}), Error);
}

TEST(HoldOut, CutsASetInTwo) {
  const auto whole = std::make_shared<Stripes>(50);
  const auto [kept, held_out] = hold_out(whole, 0.1, 3);
  EXPECT_EQ(held_out->size(), 5);
  EXPECT_EQ(kept->size(), 45);
  std::set<std::string> all = names_of(*kept);
  all.merge(names_of(*held_out));
  EXPECT_EQ(all, names_of(*whole));
  EXPECT_EQ(names_of(*hold_out(whole, 0.1, 3).held_out), names_of(*held_out));
  EXPECT_NE(names_of(*hold_out(whole, 0.1, 4).held_out), names_of(*held_out));
}

TEST(HoldOut, LeavesBothPartsSomething) {
  const auto two = std::make_shared<Stripes>(2);
  for (const double share : {0.001, 0.999}) EXPECT_EQ(hold_out(two, share, 0).held_out->size(), 1);
  expect_bad_input({"1 stripes: expected two images or more"},
                   [] { hold_out(std::make_shared<Stripes>(1), 0.5, 0); });
}

TEST(HasTestSplit, WhereTheFormatHasOne) {
  const TempFolder folder;
  const std::string png = rgb_png(4, 4);
  for (const char* name : {"splits/train/a/1.png", "splits/test/a/1.png", "plain/a/1.png", "plain/b/1.png",
                           "half/train/a/1.png", "class/test/1.png", "class/other/1.png"})
    put(folder / name, png);
  EXPECT_TRUE(has_test_split(folder / "splits"));
  EXPECT_FALSE(has_test_split(folder / "plain"));
  EXPECT_FALSE(has_test_split(folder / "half"));
  EXPECT_FALSE(has_test_split(folder / "class"));  // a class that is called so
  EXPECT_FALSE(has_test_split(folder / "plain/a/1.png"));
  EXPECT_FALSE(has_test_split(folder / "nowhere"));
  for (const char* name :
       {"idx/train-images-idx3-ubyte", "both/train-images-idx3-ubyte", "both/t10k-images-idx3-ubyte.gz",
        "cifar/data_batch_1.bin", "cifar10/cifar-10-batches-bin/data_batch_1.bin",
        "cifar10/cifar-10-batches-bin/test_batch.bin", "hub/data/train-00000-of-00001.parquet",
        "hub/data/test-00000-of-00001.parquet", "hub1/train.parquet", "hub2/all.parquet"})
    put(folder / name, "");
  EXPECT_FALSE(has_test_split(folder / "idx"));
  EXPECT_TRUE(has_test_split(folder / "both"));
  EXPECT_FALSE(has_test_split(folder / "cifar"));
  EXPECT_TRUE(has_test_split(folder / "cifar10"));
  EXPECT_TRUE(has_test_split(folder / "hub"));
  EXPECT_FALSE(has_test_split(folder / "hub1"));
  EXPECT_FALSE(has_test_split(folder / "hub2"));
}

}  // namespace
}  // namespace imago
