// A classifier's life: trained, measured, written, opened, asked.
#include "models/resnet/classifier.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/data/subset.h"
#include "engine/io/json.h"
#include "models/pixels.h"
#include "models/resnet/training.h"
#include "tests/support/striped_images.h"
#include "tests/support/temp_folder.h"

namespace imago {
namespace {

using namespace test;
namespace fs = std::filesystem;

ClassifierTrainConfig small_training() {
  ClassifierTrainConfig c;
  c.model.sample_size = 8;
  c.model.in_channels = 1;
  c.model.block_out_channels = {8, 8};
  c.model.norm_num_groups = 4;
  c.model.class_names = {"rows", "columns"};
  c.batch_size = 16;
  c.max_train_steps = 40;
  c.learning_rate = 1e-2;
  c.lr_warmup_steps = 5;
  return c;
}

/// Trained, and written to folder_/classifier.
class ClassifierTest : public ::testing::Test {
 protected:
  ClassifierTest() : training_(small_training(), std::make_shared<Stripes>(64)) {
    while (!training_.finished()) last_ = training_.step();
    fs::create_directory(path());
    write_classifier(path(), training_.config().model, training_.parameters());
  }
  fs::path path() const { return folder_ / "classifier"; }
  void refuses_to_open(const std::vector<std::string>& parts) const {
    expect_bad_input(parts, [&] { Classifier(path(), Device::kCpu); });
  }
  TempFolder folder_;
  ClassifierTraining training_;
  MetricsRow last_;
};

TEST_F(ClassifierTest, LearnsAndKnowsImagesThatItHasNotSeen) {
  EXPECT_EQ(last_.step, 40);
  EXPECT_EQ(last_.images, 40 * 16);
  EXPECT_LT(last_.loss, 0.1);  // ln 2 = 0.69 for one who guesses
  const Classifier classifier(path(), Device::kCpu);
  const ConfusionMatrix confusion = classifier.evaluate(std::make_shared<Stripes>(100, 8, 1000));
  EXPECT_EQ(confusion.total(), 100);
  EXPECT_GT(confusion.accuracy(), 0.95);
  // Images of another size are brought to its own.
  EXPECT_EQ(classifier.evaluate(std::make_shared<Stripes>(10, 16, 0)).total(), 10);
}

TEST_F(ClassifierTest, TheSameSeedGivesTheSameBits) {
  ClassifierTraining again(small_training(), std::make_shared<Stripes>(64));
  while (!again.finished()) again.step();
  EXPECT_EQ(to_vector<float>(again.parameters().values()), to_vector<float>(training_.parameters().values()));
  ClassifierTrainConfig other = small_training();
  other.seed = 1;
  ClassifierTraining another(other, std::make_shared<Stripes>(64));
  another.step();
  EXPECT_NE(to_vector<float>(another.parameters().values()),
            to_vector<float>(training_.parameters().values()));
}

TEST_F(ClassifierTest, AnswersAreThoseOfTheNetworkThatWasWritten) {
  const Classifier classifier(path(), Device::kCpu);
  EXPECT_EQ(classifier.config(), training_.config().model);
  const Stripes stripes(6, 8, 500);
  std::vector<uint8_t> pixels;
  for (int64_t i = 0; i < 6; ++i) {
    const Image image = stripes.image(i);
    pixels.insert(pixels.end(), image.pixels.begin(), image.pixels.end());
  }
  const Tensor images = from_pixels(from_vector(pixels, {6, 8, 8, 1}, Device::kCpu));  // [N,8,8,1]
  const NoGrad no_grad;
  const Tensor features = training_.model().features(images);  // [N,8]
  EXPECT_EQ(to_vector<float>(classifier.features(images)), to_vector<float>(features));
  const std::vector<float> logits = to_vector<float>(training_.model().logits(features));  // [N,2]
  const std::vector<Classified> answers = classifier.classify(images);
  ASSERT_EQ(answers.size(), 6u);
  for (size_t n = 0; n < 6; ++n) {
    const double a = logits[2 * n], b = logits[2 * n + 1];
    EXPECT_EQ(answers[n].label, b > a ? 1 : 0);
    EXPECT_NEAR(answers[n].probability, 1 / (1 + std::exp(-std::abs(a - b))), 1e-6);  // softmax of two
  }
}

TEST_F(ClassifierTest, GreyImagesMayComeInColourAndLarger) {
  const Classifier classifier(path(), Device::kCpu);
  const Image grey = Stripes(1, 8, 501).image(0);
  std::vector<uint8_t> colour;
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 16; ++x)
      colour.insert(colour.end(), 3, grey.pixels[static_cast<size_t>(y / 2 * 8 + x / 2)]);
  const auto of = [&](const std::vector<uint8_t>& pixels, const Shape& shape) {
    return classifier.classify(from_pixels(from_vector(pixels, shape, Device::kCpu)))[0];
  };
  EXPECT_EQ(of(colour, {1, 16, 16, 3}).label, of(grey.pixels, {1, 8, 8, 1}).label);
}

TEST_F(ClassifierTest, OtherFoldersAreRefused) {
  expect_bad_input({"nowhere: no such folder"}, [&] { Classifier(folder_ / "nowhere", Device::kCpu); });
  put(folder_ / "model_index.json", "{}");
  expect_bad_input({"not a classifier: it has no config.json"},
                   [&] { Classifier(folder_.path(), Device::kCpu); });
  nlohmann::json config = read_json(path() / "config.json");
  config["_class_name"] = "UNet2DModel";
  write_json(path() / "config.json", config);
  refuses_to_open({"config.json: _class_name", "UNet2DModel"});
}

TEST_F(ClassifierTest, WeightsOfAnotherNetworkAreRefused) {
  nlohmann::json config = read_json(path() / "config.json");
  config["class_names"] = {"rows", "columns", "dots"};
  write_json(path() / "config.json", config);
  refuses_to_open({"model.safetensors: tensor classifier.weight: expected shape [3,8], not [2,8]"});
}

TEST_F(ClassifierTest, TruncatedWeightsAreRefused) {
  const std::string whole = get(path() / "model.safetensors");
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, whole.size() - 1}) {
    put(path() / "model.safetensors", whole.substr(0, size));
    refuses_to_open({"model.safetensors"});
  }
  fs::remove(path() / "model.safetensors");
  refuses_to_open({"not a classifier: it has no model.safetensors"});
}

/// Stripes under other names, or without a class in places.
class Renamed final : public Dataset {
 public:
  explicit Renamed(std::vector<std::string> names, int64_t without_class = -1)
      : names_(std::move(names)), without_class_(without_class) {}
  int64_t size() const override { return stripes_.size(); }
  Image image(int64_t i) const override { return stripes_.image(i); }
  int32_t label(int64_t i) const override { return i == without_class_ ? -1 : stripes_.label(i); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(int64_t i) const override { return stripes_.name(i); }
  std::string description() const override { return "renamed stripes"; }

 private:
  Stripes stripes_{20, 8, 2000};
  std::vector<std::string> names_;
  int64_t without_class_;
};

TEST_F(ClassifierTest, ClassesAreMatchedByName) {
  const Classifier classifier(path(), Device::kCpu);
  const double right =
      classifier.evaluate(std::make_shared<Renamed>(std::vector<std::string>{"rows", "columns"})).accuracy();
  const double wrong =
      classifier.evaluate(std::make_shared<Renamed>(std::vector<std::string>{"columns", "rows"})).accuracy();
  EXPECT_GT(right, 0.9);
  EXPECT_DOUBLE_EQ(right + wrong, 1);  // each image is called what the other set says that it is not
  const auto refused = [&](const Renamed& set, const std::vector<std::string>& parts) {
    expect_bad_input(parts, [&] { classifier.evaluate(std::make_shared<Renamed>(set)); });
  };
  refused(Renamed({"rows", "dots"}), {"renamed stripes: the classifier knows no class \"dots\""});
  refused(Renamed({"rows", "columns"}, 3), {"stripes 2003: has no class"});
  refused(Renamed({}), {"renamed stripes: has no classes"});
}

TEST(ClassifierTraining, RefusesDataThatDoNotFit) {
  ClassifierTrainConfig c = small_training();
  c.model.class_names = {"a", "b"};
  expect_bad_input({"its classes are not those of the model"},
                   [&] { ClassifierTraining(c, std::make_shared<Stripes>(4)); });
  expect_bad_input({"stripes 2003: has the class -1"}, [&] {
    ClassifierTraining(small_training(),
                       std::make_shared<Renamed>(std::vector<std::string>{"rows", "columns"}, 3));
  });
}

TEST(ClassifierTraining, ALossThatIsNotFiniteEndsIt) {
  ClassifierTrainConfig c = small_training();
  c.learning_rate = 1e30;
  c.lr_warmup_steps = 0;
  ClassifierTraining training(c, std::make_shared<Stripes>(64));
  expect_error(Fault::kFailure, {"step ", "the loss is not finite"}, [&] {
    while (!training.finished()) training.step();
  });
}

TEST(ConfusionMatrix, CountsWhatWasTakenForWhat) {
  ConfusionMatrix m({"a", "b", "c"});
  EXPECT_TRUE(std::isnan(m.accuracy()));
  m.add(0, 0), m.add(0, 1), m.add(0, 0), m.add(2, 0);
  EXPECT_EQ(m.total(), 4);
  EXPECT_EQ(m.count(0, 0), 2);
  EXPECT_EQ(m.count(2, 0), 1);
  EXPECT_DOUBLE_EQ(m.accuracy(), 0.5);
  EXPECT_DOUBLE_EQ(m.recall(0), 2.0 / 3);
  EXPECT_TRUE(std::isnan(m.recall(1)));
  const nlohmann::json json = m.to_json();
  EXPECT_EQ(json["confusion"], nlohmann::json({{2, 1, 0}, {0, 0, 0}, {1, 0, 0}}));
  EXPECT_EQ(json["recall"][1], nlohmann::json());
  EXPECT_EQ(json["images"], 4);
  EXPECT_THROW(m.add(3, 0), Error);
}

}  // namespace
}  // namespace imago
