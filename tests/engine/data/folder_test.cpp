// Image folders as people have them: nested, mixed case, labelled, with broken files among good ones.
#include <algorithm>

#include "engine/data/dataset.h"
#include "tests/support/image_files.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;
using Names = std::vector<std::string>;
namespace fs = std::filesystem;

Names relative_names(const Dataset& set, const fs::path& root) {
  Names names;
  for (int64_t i = 0; i < set.size(); ++i) names.push_back(fs::relative(set.name(i), root).string());
  return names;
}

TEST(ImageFolder, ByteOrderOfPathsWhateverTheCase) {
  TempFolder folder;
  const std::string png = rgb_png(4, 4), jpeg = make_jpeg(4, 4, 3, gradient(4, 4, 3));
  for (const char* name :
       {"b.png", "B.PNG", "a/x.png", "a-.png", "\u00e9.png", "z.png", "deep/er/p.png", "a10.png", "a9.png"})
    put(folder / name, png);
  for (const char* name : {"c.jpg", "C.JPEG", "d.Jpg", "e.webp"}) put(folder / name, jpeg);
  for (const char* name : {"notes.txt", ".hidden.png", ".git/x.png", "pngfile", "e.gif"})
    put(folder / name, "x");
  const auto set = open_dataset(folder.path());
  EXPECT_EQ(relative_names(*set, folder.path()),
            (Names{"B.PNG", "C.JPEG", "a-.png", "a/x.png", "a10.png", "a9.png", "b.png", "c.jpg", "d.Jpg",
                   "deep/er/p.png", "e.webp", "z.png", "\u00e9.png"}));
  EXPECT_EQ(set->label(3), -1);  // some lie in no sub-folder: no classes
  EXPECT_TRUE(set->class_names().empty());
  EXPECT_EQ(set->image(6).height, 4);
}

TEST(ImageFolder, SubFoldersAreClasses) {
  TempFolder folder;
  for (const char* name : {"dog/1.png", "cat/3.png", "cat/more/2.png", "ant/9.png"})
    put(folder / name, rgb_png(4, 4));
  const auto set = open_dataset(folder.path());
  EXPECT_EQ(set->class_names(), (Names{"ant", "cat", "dog"}));
  EXPECT_EQ(relative_names(*set, folder.path()),
            (Names{"ant/9.png", "cat/3.png", "cat/more/2.png", "dog/1.png"}));
  EXPECT_EQ(set->label(0), 0);
  EXPECT_EQ(set->label(2), 1);
  EXPECT_EQ(set->label(3), 2);
}

TEST(ImageFolder, Splits) {
  TempFolder folder;
  for (const char* name : {"train/dog/1.png", "train/cat/2.png", "test/dog/3.png"})
    put(folder / name, rgb_png(4, 4));
  put(folder / "README.md", "about");
  EXPECT_EQ(relative_names(*open_dataset(folder.path()), folder.path()),
            (Names{"train/cat/2.png", "train/dog/1.png"}));
  EXPECT_EQ(open_dataset(folder.path())->class_names(), (Names{"cat", "dog"}));
  EXPECT_EQ(open_dataset(folder.path(), {.split = "test"})->size(), 1);
  put(folder / "other/4.png", rgb_png(4, 4));  // no longer a folder of splits only
  EXPECT_EQ(open_dataset(folder.path())->class_names(), (Names{"other", "test", "train"}));
}

TEST(ImageFolder, SymbolicLinksAndLoops) {
  TempFolder folder, elsewhere;
  put(elsewhere / "linked.png", rgb_png(4, 4));
  put(folder / "a/own.png", rgb_png(4, 4));
  fs::create_directory_symlink(elsewhere.path(), folder / "b");
  fs::create_directory_symlink(folder.path(), folder / "a/loop");
  fs::create_symlink(folder / "missing.png", folder / "a/dangling.png");
  EXPECT_EQ(open_dataset(folder.path())->size(), 2);
}

TEST(ImageFolder, BrokenOnesAreNamedAndSkipped) {
  TempFolder folder;
  const std::string jpeg = make_jpeg(32, 32, 3, gradient(32, 32, 3));
  for (int i = 0; i < 5; ++i) put(folder / str("good", i, ".jpg"), jpeg);
  put(folder / "good2_cut.jpg", jpeg.substr(0, jpeg.size() / 2));
  put(folder / "zero.png", "");
  put(folder / "fake.png", "<html>not found</html>");
  Names warnings;
  const DatasetOptions options{
      .broken_images = {.warn = [&](const std::string& message) { warnings.push_back(message); }}};
  EXPECT_EQ(open_dataset(folder.path(), options)->size(), 5);
  EXPECT_EQ(warnings, (Names{(folder / "fake.png").string() + ": neither PNG, JPEG nor WebP; skipped",
                             (folder / "good2_cut.jpg").string() + ": truncated JPEG; skipped",
                             (folder / "zero.png").string() + ": empty file; skipped"}));
  expect_bad_input({"fake.png: neither PNG, JPEG nor WebP", "2 more broken"},
                   [&] { open_dataset(folder.path(), {.broken_images = {.refuse = true}}); });
  warnings.clear();
  for (int i = 0; i < 30; ++i) put(folder / str("no", i, ".png"), "");
  EXPECT_EQ(open_dataset(folder.path(), options)->size(), 5);
  EXPECT_EQ(warnings.size(), 11u);
  EXPECT_EQ(warnings.back(), "23 more broken images skipped");
}

TEST(ImageFolder, NothingToTrainOn) {
  TempFolder folder;
  expect_bad_input({(folder / "none").string() + ": no such folder"}, [&] { open_dataset(folder / "none"); });
  expect_bad_input({folder.path().string() + ": no images (.png .jpg .jpeg .webp)"},
                   [&] { open_dataset(folder.path()); });
  put(folder / "a.txt", "x");
  put(folder / "sub/b.gif", "x");
  expect_bad_input({"no images"}, [&] { open_dataset(folder.path()); });
  expect_bad_input({"a.txt: not a data set"}, [&] { open_dataset(folder / "a.txt"); });
  put(folder / "sub/c.png", "x");
  expect_bad_input({"every image", "broken"}, [&] {
    open_dataset(folder.path(), {.broken_images = {.warn = [](const std::string&) {}}});
  });
}

}  // namespace
}  // namespace imago
