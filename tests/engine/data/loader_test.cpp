// The loader: what a batch holds, that it is always the same, that it starts anywhere and stops cleanly.
#include "engine/data/loader.h"

#include <atomic>
#include <chrono>
#include <map>
#include <set>

#include "engine/data/image_cache.h"
#include "engine/image/resize.h"
#include "tests/support/image_files.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;

// Images made on the spot, of different sizes and channels; some of them may be broken.
class MadeUp : public Dataset {
 public:
  explicit MadeUp(int64_t size, std::set<int64_t> broken = {}) : size_(size), broken_(std::move(broken)) {}
  int64_t size() const override { return size_; }
  Image image(int64_t i) const override {
    ++decoded;
    if (broken_.contains(i)) bad_input(name(i), ": broken");
    if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(i % 3));
    const int height = 8 + static_cast<int>(i % 5), width = 8 + static_cast<int>(i % 3),
              channels = i % 2 ? 1 : 3;
    return {height, width, channels, gradient(height, width, channels, static_cast<int>(i))};
  }
  int32_t label(int64_t i) const override { return static_cast<int32_t>(i % 7); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override { return str("made up ", i); }
  std::string description() const override { return "made up"; }
  mutable std::atomic<int64_t> decoded{0};
  bool slow = false;

 private:
  int64_t size_;
  std::set<int64_t> broken_;
  std::vector<std::string> names_;
};

LoaderOptions options_8x8(int batch_size, int workers = 0) {
  LoaderOptions o;
  o.batch_size = batch_size;
  o.height = o.width = 8;
  o.num_workers = workers;
  o.random_flip = true;
  o.seed = 77;
  return o;
}

// Memory for so many batches, one behind the other as in a training step's block.
class Ring {
 public:
  Ring(const LoaderOptions& o, int64_t batches) {
    if (o.batch_size < 1 || o.height < 1 || o.width > 1 << 16 || o.channels < 1) return;  // will be refused
    const auto n = static_cast<size_t>(o.batch_size), count = static_cast<size_t>(batches);
    images_.resize(count * n * o.image_bytes());
    ids_.resize(count * n);
    labels_.resize(count * n);
    for (size_t i = 0; i < count; ++i)
      batches_.push_back({.images = std::span(images_).subspan(i * n * o.image_bytes(), n * o.image_bytes()),
                          .ids = std::span(ids_).subspan(i * n, n),
                          .labels = std::span(labels_).subspan(i * n, n)});
  }
  const std::vector<Batch>& batches() const { return batches_; }

 private:
  std::vector<uint8_t> images_;
  std::vector<int64_t> ids_;
  std::vector<int32_t> labels_;
  std::vector<Batch> batches_;
};

// A loader with memory of its own.
class Loader {
 public:
  Loader(std::shared_ptr<const Dataset> set, const LoaderOptions& o, int held = 1)
      : ring_(o, std::max<int64_t>(o.batches_ahead(), 0) + held),
        loader_(std::move(set), o, ring_.batches(), held) {}
  const Batch& next() { return loader_.next(); }
  void seek(int64_t epoch, int64_t batch) { loader_.seek(epoch, batch); }
  int64_t batches_per_epoch() const { return loader_.batches_per_epoch(); }
  int64_t samples_per_epoch() const { return loader_.samples_per_epoch(); }

 private:
  Ring ring_;
  BatchLoader loader_;
};

// What a batch holds, kept when the loader goes on.
struct Content {
  int64_t epoch, index;
  int size;
  std::vector<uint8_t> images;
  std::vector<int64_t> ids, indices;
  std::vector<int32_t> labels;

  Content(const Batch& b)
      : epoch(b.epoch),
        index(b.index),
        size(b.size),
        images(b.images.begin(), b.images.end()),
        ids(b.ids.begin(), b.ids.end()),
        indices(b.indices),
        labels(b.labels.begin(), b.labels.end()) {}
};

void expect_same(const Content& a, const Content& b) {
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.index, b.index);
  EXPECT_EQ(a.size, b.size);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.indices, b.indices);
  EXPECT_TRUE(a.images == b.images);
}

std::vector<Content> take(Loader& loader, int count) {
  std::vector<Content> batches;
  for (int i = 0; i < count; ++i) batches.emplace_back(loader.next());
  return batches;
}

TEST(Loader, EveryEpochHoldsEveryImageOnceInAnotherOrder) {
  const auto set = std::make_shared<MadeUp>(23);
  LoaderOptions o = options_8x8(5);
  o.drop_last = false;
  Loader loader(set, o);
  EXPECT_EQ(loader.batches_per_epoch(), 5);
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<int64_t> order, ids;
    for (int64_t b = 0; b < 5; ++b) {
      const Batch& batch = loader.next();
      EXPECT_EQ(batch.epoch, epoch);
      EXPECT_EQ(batch.index, b);
      EXPECT_EQ(batch.size, b == 4 ? 3 : 5);
      EXPECT_EQ(batch.images.size(), static_cast<size_t>(batch.size * 8 * 8 * 3));
      for (size_t k = 0; k < batch.indices.size(); ++k) EXPECT_EQ(batch.labels[k], batch.indices[k] % 7);
      order.insert(order.end(), batch.indices.begin(), batch.indices.end());
      ids.insert(ids.end(), batch.ids.begin(), batch.ids.end());
    }
    for (int64_t i = 0; i < 23; ++i) EXPECT_EQ(ids[static_cast<size_t>(i)], epoch * 23 + i);
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < 23; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
  }
  EXPECT_EQ(orders.size(), 4u);
  EXPECT_EQ(set->decoded, 23);  // once each; the cache does the rest
}

TEST(Loader, PixelsAreTheConvertedImages) {
  const auto set = std::make_shared<MadeUp>(12);
  for (int channels : {1, 3}) {
    LoaderOptions o = options_8x8(4);
    o.channels = channels;
    o.shuffle = o.random_flip = false;
    o.center_crop = true;
    Loader loader(set, o);
    for (const Content& batch : take(loader, 3)) {
      for (size_t k = 0; k < 4; ++k) {
        EXPECT_EQ(batch.indices[k], batch.index * 4 + static_cast<int64_t>(k));
        const Image p = resize_to_cover(with_channels(set->image(batch.indices[k]), channels), 8, 8);
        const size_t bytes = static_cast<size_t>(8 * 8 * channels);
        std::vector<uint8_t> expected(bytes);
        copy_window(p, centre_offset(p.height, 8), centre_offset(p.width, 8), 8, 8, false, expected.data());
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(),
                               batch.images.begin() + static_cast<int64_t>(k * bytes)));
      }
    }
  }
}

// An image whose pixels say where they come from: [12,8,1] covers 8x8 without resizing.
class Ruler : public MadeUp {
 public:
  explicit Ruler(int64_t size) : MadeUp(size) {}
  Image image(int64_t) const override {
    Image p{12, 8, 1, {}};
    for (int y = 0; y < 12; ++y)
      for (int x = 0; x < 8; ++x) p.pixels.push_back(static_cast<uint8_t>(16 * y + x));
    return p;
  }
};

TEST(Loader, CropsAndFlipsAreUniform) {
  LoaderOptions o = options_8x8(100);
  o.channels = 1;
  Loader loader(std::make_shared<Ruler>(100), o);
  std::map<std::pair<int, bool>, int> seen;
  const int rounds = 50, total = rounds * 100;
  for (int b = 0; b < rounds; ++b) {
    const Batch& batch = loader.next();
    for (size_t k = 0; k < 100; ++k) {
      const uint8_t first = batch.images[k * 64];
      ++seen[{first / 16, first % 16 == 7}];
    }
  }
  EXPECT_EQ(seen.size(), 10u);  // top 0 .. 4, flipped or not
  // Each count is binomial(5000, 1/10): mean 500, standard deviation 21.2; five of them.
  for (const auto& [what, count] : seen)
    EXPECT_NEAR(count, total / 10, 107) << what.first << " " << what.second;
}

TEST(Loader, SameBatchesForAnyNumberOfWorkers) {
  const auto set = std::make_shared<MadeUp>(31);
  set->slow = true;
  LoaderOptions o = options_8x8(4);
  for (size_t cache_bytes : {size_t{0}, size_t{3000}, size_t{1} << 30}) {  // nothing, some, everything fits
    o.cache_bytes = cache_bytes;
    o.num_workers = 0;
    Loader reference(set, o);
    const auto expected = take(reference, 30);
    for (int workers : {1, 2, 5}) {
      o.num_workers = workers;
      Loader loader(set, o);
      for (const Content& batch : expected) expect_same(loader.next(), batch);
    }
  }
}

TEST(Loader, StartsAnywhere) {
  const auto set = std::make_shared<MadeUp>(23);
  for (bool drop_last : {true, false}) {
    LoaderOptions o = options_8x8(5);
    o.drop_last = drop_last;
    Loader reference(set, o);
    const auto expected = take(reference, 20);
    for (int workers : {0, 3}) {
      o.num_workers = workers;
      Loader loader(set, o);
      for (size_t start : {7u, 0u, 13u, 12u, 4u}) {  // forwards and backwards, while workers are ahead
        const int64_t per_epoch = loader.batches_per_epoch(), at = static_cast<int64_t>(start);
        loader.seek(at / per_epoch, at % per_epoch);
        for (size_t i = start; i < start + 5; ++i) expect_same(loader.next(), expected[i]);
      }
      loader.seek(0, 12);  // counted on into later epochs
      expect_same(loader.next(), expected[12]);
    }
  }
}

TEST(Loader, SeedDecidesTheOrder) {
  std::vector<uint32_t> a(1000), b(1000), c(1000), again(1000);
  shuffled_order(1, 0, a);
  shuffled_order(1, 1, b);
  shuffled_order(2, 0, c);
  shuffled_order(1, 0, again);
  EXPECT_EQ(a, again);
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
}

TEST(Loader, ShuffleIsUniform) {  // where each of 5 images ends up, over 5000 epochs
  std::vector<uint32_t> order(5);
  int counts[5][5] = {};
  for (int64_t epoch = 0; epoch < 5000; ++epoch) {
    shuffled_order(3, epoch, order);
    for (size_t i = 0; i < 5; ++i) ++counts[i][order[i]];
  }
  // binomial(5000, 1/5): mean 1000, standard deviation 28.3; five of them
  for (const auto& row : counts)
    for (int count : row) EXPECT_NEAR(count, 1000, 142);
}

TEST(Loader, SetSmallerThanABatchGoesRound) {
  const auto set = std::make_shared<MadeUp>(3);
  Loader loader(set, options_8x8(8));
  EXPECT_EQ(loader.batches_per_epoch(), 1);
  EXPECT_EQ(loader.samples_per_epoch(), 8);
  const auto batches = take(loader, 3);
  for (const Content& batch : batches) {
    EXPECT_EQ(batch.size, 8);
    std::map<int64_t, int> times;
    for (int64_t image : batch.indices) ++times[image];
    EXPECT_EQ(times.size(), 3u);
    for (const auto& [image, count] : times) EXPECT_GE(count, 2) << image;
  }
  EXPECT_EQ(batches[2].ids[0], 16);
  LoaderOptions o = options_8x8(8);
  o.drop_last = false;
  EXPECT_EQ(Loader(set, o).next().size, 3);
}

TEST(Loader, DropLastLeavesTheRestOut) {
  Loader loader(std::make_shared<MadeUp>(23), options_8x8(5));
  EXPECT_EQ(loader.batches_per_epoch(), 4);
  EXPECT_EQ(loader.samples_per_epoch(), 20);
  const auto batches = take(loader, 5);
  for (const Content& batch : batches) EXPECT_EQ(batch.size, 5);
  EXPECT_EQ(batches[4].epoch, 1);
  EXPECT_EQ(batches[4].ids[0], 20);
}

TEST(Loader, BuffersAreUsedAgain) {
  for (int workers : {0, 2}) {
    Loader loader(std::make_shared<MadeUp>(40), options_8x8(4, workers));
    std::set<const void*> buffers;
    for (int i = 0; i < 60; ++i) buffers.insert(loader.next().images.data());
    EXPECT_LE(buffers.size(), static_cast<size_t>(workers * 2 + 1));
  }
}

TEST(Loader, TheBatchInUseStaysUntouched) {
  Loader loader(std::make_shared<MadeUp>(40), options_8x8(4, 3));
  for (int i = 0; i < 20; ++i) {
    const Batch& batch = loader.next();
    const Content copy = batch;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // time for the workers to run ahead
    expect_same(batch, copy);
  }
}

TEST(Loader, TheBatchesInUseStayUntouched) {  // as many as a training step takes
  for (int workers : {0, 3}) {
    const auto set = std::make_shared<MadeUp>(40);
    Loader loader(set, options_8x8(4, workers), /*held=*/3), reference(set, options_8x8(4));
    const auto expected = take(reference, 30);
    std::vector<Batch> last;  // what it gave out, which it may not write to
    for (size_t i = 0; i < expected.size(); ++i) {
      last.push_back(loader.next());
      EXPECT_EQ(last.back().slot, i % static_cast<size_t>(2 * workers + 3));
      if (last.size() > 3) last.erase(last.begin());
      std::this_thread::sleep_for(std::chrono::milliseconds(workers));  // time for them to run ahead
      for (size_t k = 0; k < last.size(); ++k) expect_same(last[k], expected[i + 1 - last.size() + k]);
    }
  }
}

TEST(Loader, MemoryHasToFit) {
  const auto refused = [](int64_t batches, const LoaderOptions& of, int held) {
    const Ring ring(of, batches);
    EXPECT_THROW(BatchLoader(std::make_shared<MadeUp>(5), options_8x8(4, 1), ring.batches(), held), Error);
  };
  refused(2, options_8x8(4), 2);  // none is left for the worker
  refused(3, options_8x8(3), 1);
  LoaderOptions grey = options_8x8(4);
  grey.channels = 1;
  refused(3, grey, 1);
}

TEST(Loader, BrokenImagesAreReplacedByTheNextGoodOne) {
  const auto set = std::make_shared<MadeUp>(10, std::set<int64_t>{3, 4, 9});
  for (int workers : {0, 2}) {
    std::vector<std::string> warnings;
    LoaderOptions o = options_8x8(10, workers);
    o.shuffle = false;
    set->set_broken_images({.warn = [&](const std::string& message) { warnings.push_back(message); }});
    {
      Loader loader(set, o);
      for (int i = 0; i < 3; ++i)
        EXPECT_EQ(loader.next().indices, (std::vector<int64_t>{0, 1, 2, 5, 5, 5, 6, 7, 8, 0}));
    }
    std::sort(warnings.begin(), warnings.end());
    ASSERT_EQ(warnings.size(), 3u);
    EXPECT_EQ(warnings[0], "made up 3: broken; the next image takes its place");
  }
}

TEST(Loader, ErrorsOfWorkersSurfaceInOrder) {
  for (int workers : {0, 1, 4}) {
    LoaderOptions o = options_8x8(2, workers);
    o.shuffle = false;
    const auto set = std::make_shared<MadeUp>(20, std::set<int64_t>{7, 12});
    set->set_broken_images({.refuse = true});
    Loader loader(set, o);
    for (int i = 0; i < 3; ++i) loader.next();
    for (int i = 0; i < 2; ++i) expect_bad_input({"made up 7: broken"}, [&] { loader.next(); });
    loader.seek(0, 4);
    EXPECT_EQ(loader.next().indices[0], 8);
  }
  const auto set = std::make_shared<MadeUp>(2, std::set<int64_t>{0, 1});
  set->set_broken_images({.warn = [](const std::string&) {}});
  Loader hopeless(set, options_8x8(2, 1));
  expect_bad_input({"no image can be decoded"}, [&] { hopeless.next(); });
}

TEST(Loader, StopsCleanlyWhereverItIs) {
  const auto set = std::make_shared<MadeUp>(50);
  set->slow = true;
  for (int round = 0; round < 20; ++round) {
    Loader loader(set, options_8x8(4, 1 + round % 4));
    for (int i = 0; i < round % 5; ++i) loader.next();
  }
}

TEST(Loader, ImpossibleOptions) {
  const auto refused = [](auto change, const std::vector<std::string>& parts) {
    LoaderOptions o = options_8x8(4);
    change(o);
    expect_bad_input(parts, [&] { Loader loader(std::make_shared<MadeUp>(5), o); });
  };
  refused([](LoaderOptions& o) { o.batch_size = 0; }, {"batch size", "0"});
  refused([](LoaderOptions& o) { o.height = -3; }, {"resolution", "-3"});
  refused([](LoaderOptions& o) { o.width = 1 << 20; }, {"resolution"});
  refused([](LoaderOptions& o) { o.channels = 2; }, {"1 or 3 channels", "2"});
  refused([](LoaderOptions& o) { o.num_workers = -1; }, {"threads", "-1"});
}

TEST(ImageCache, StaysBelowItsLimit) {
  const auto set = std::make_shared<MadeUp>(100);
  ImageCache::Options o;
  o.height = o.width = 8;
  o.max_bytes = 5000;
  ImageCache cache(set, o);
  Image scratch;
  for (int round = 0; round < 2; ++round)
    for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(cache.get(i, scratch).image->channels, 3);
  EXPECT_LE(cache.bytes(), 5000u);
  EXPECT_GT(cache.bytes(), 4000u);
  EXPECT_GT(set->decoded, 100);
  EXPECT_LT(set->decoded, 200);
}

}  // namespace
}  // namespace imago
