// evaluate_ddpm: figures are functions of the seed, files are whole or not there, and what cannot be measured
// is refused.
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "engine/image/decode.h"
#include "engine/io/json.h"
#include "tests/apps/tiny_run.h"
#include "tests/support/striped_images.h"

namespace imago::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

Arguments joined(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class EvaluateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Finished f = run_program("train_ddpm", tiny_.train("model", 2));
    ASSERT_EQ(f.code, 0) << f.err;
  }
  Arguments arguments(const std::string& output, const Arguments& more) const {
    return joined({"--model", tiny_.path("model").string(), "--data", tiny_.images(), "--device", "cpu",
                   "--output", tiny_.path(output).string(), "--num_images", "10", "--batch_size", "4"},
                  more);
  }
  json evaluate(const std::string& output, const Arguments& more) const {
    const Finished f = run_program("evaluate_ddpm", arguments(output, more));
    EXPECT_EQ(f.code, 0) << f.err;
    return f.code == 0 ? read_json(tiny_.path(output) / "evaluation.json") : json();
  }
  void refuses(const Arguments& more, const std::vector<std::string>& parts) const {
    expect_refused("evaluate_ddpm", arguments("refused", more), parts);
    EXPECT_FALSE(fs::exists(tiny_.path("refused") / "evaluation.json"));
  }
  TinyRun tiny_;
};

TEST_F(EvaluateTest, LikelihoodIsAFunctionOfTheSeed) {
  const Arguments how = {"--metrics", "bits,loss", "--num_timesteps", "6", "--likelihood_images", "9"};
  const json one = evaluate("one", how), again = evaluate("again", joined(how, {"--batch_size", "9"}));
  const json other = evaluate("other", joined(how, {"--seed", "1"}));
  const json& bits = one["likelihood"];
  EXPECT_EQ(bits["images"], 9);
  EXPECT_EQ(bits["evaluations_per_image"], 6);
  EXPECT_EQ(bits["timesteps"], 1000);
  EXPECT_GT(bits["half_width_95"], 0);
  const double sum =
      bits["prior"].get<double>() + bits["decoder"].get<double>() + bits["steps"].get<double>();
  EXPECT_DOUBLE_EQ(bits["bits_per_dimension"], sum);
  // Batches of other sizes may add in another order within the network: a few roundings of float32.
  EXPECT_NEAR(again["likelihood"]["bits_per_dimension"], sum, 1e-4 * sum);
  EXPECT_NE(other["likelihood"]["bits_per_dimension"], bits["bits_per_dimension"]);
  EXPECT_EQ(one["loss"]["draws"], 90);
  EXPECT_EQ(one["loss"]["bins"].size(), 20u);
  EXPECT_NEAR(again["loss"]["mean"], one["loss"]["mean"], 1e-4);
  EXPECT_FALSE(one.contains("samples"));
  EXPECT_TRUE(fs::exists(tiny_.path("one") / "evaluation.html"));
}

TEST_F(EvaluateTest, SweepsEveryCombination) {
  const json found = evaluate(
      "sweep", {"--metrics", "neighbours", "--sweep_schedulers", "ddim,heun", "--sweep_steps", "2,3"});
  ASSERT_EQ(found["samples"].size(), 4u);
  EXPECT_EQ(found["samples"][1]["sampler"], "ddim");
  EXPECT_EQ(found["samples"][1]["steps"], 3);
  EXPECT_EQ(found["samples"][3]["sampler"], "heun");
  EXPECT_EQ(found["samples"][3]["evaluations"], 5);  // two a step, but for the last
  EXPECT_EQ(found["samples"][3]["images"], 10);
  const Image neighbours = read_image(tiny_.path("sweep") / "neighbours_by_pixels.png");
  EXPECT_EQ(neighbours.width, 8 * 8 + 7 * 2);  // a sample and seven neighbours
  EXPECT_EQ(neighbours.height, 8 * 8 + 7 * 2);
}

// Images of the training set are their own nearest neighbours: the first two columns are the same.
TEST_F(EvaluateTest, TakesImagesInPlaceOfAModel) {
  const std::string output = tiny_.path("given").string();
  const Finished f =
      run_program("evaluate_ddpm", {"--samples", tiny_.images(), "--data", tiny_.images(), "--output", output,
                                    "--num_images", "8", "--device", "cpu"});
  ASSERT_EQ(f.code, 0) << f.err;
  const Image image = read_image(fs::path(output) / "neighbours_by_pixels.png");
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < 8; ++x)
      for (int c = 0; c < 3; ++c) {
        const auto value = [&](int column) {
          return image.pixels[static_cast<size_t>((y * image.width + column) * 3 + c)];
        };
        ASSERT_EQ(value(x), value(x + 10)) << x << ", " << y;
      }
}

TEST_F(EvaluateTest, ASignalLeavesNothing) {
  Program program("evaluate_ddpm", arguments("stopped", {"--metrics", "bits", "--num_timesteps", "1000",
                                                         "--likelihood_images", "24"}));
  while (program.running() && program.err().find("likelihood") == std::string::npos)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(program.running());
  program.signal(SIGINT);
  const Finished f = program.wait();
  EXPECT_EQ(f.code, 128 + SIGINT);
  EXPECT_NE(f.err.find("stopped by SIGINT; nothing was written"), std::string::npos) << f.err;
  EXPECT_TRUE(fs::is_empty(tiny_.path("stopped")));
}

TEST_F(EvaluateTest, RefusesWhatItCannotMeasure) {
  refuses({"--metrics", "bits,beauty"}, {"--metrics", "beauty", "bits, loss, frechet"});
  refuses({"--metrics", "frechet"}, {"--features: needed for --metrics frechet"});
  refuses({"--features", "nowhere"}, {"--features nowhere: no such file or folder"});
  refuses({"--data", "nowhere"}, {"nowhere: no such folder"});
  refuses({"--data", ""}, {"nothing to measure"});
  refuses({"--metrics", "loss", "--data", ""}, {"--data: needed for --metrics loss"});
  refuses({"--model", ""}, {"--model or --samples"});
  refuses({"--metrics", "bits", "--num_timesteps", "1001"}, {"timesteps: expected 2 to 1000, not 1001"});
  refuses({"--sweep_steps", "5,x"}, {"--sweep_steps", "\"x\""});
  refuses({"--sweep_steps", "5,2000"}, {"2000"});
  refuses({"--sweep_schedulers", "ddim,magic"}, {"--sweep_schedulers magic: expected one of"});
  refuses({"--metrics", "bits", "--sweep_steps", "5"}, {"--sweep_steps", "need samples"});
  refuses({"--guidance_scale", "2"}, {"--guidance_scale: the model knows no classes"});
  refuses({"--class_label", "1"}, {"--class_label: the model knows no classes"});
  refuses({"--resolution", "9"}, {"--resolution"});
}

TEST_F(EvaluateTest, RefusesSamplesThatAreNoSet) {
  fs::create_directory(tiny_.path("empty"));
  refuses({"--samples", tiny_.path("empty").string()}, {"--samples", "empty"});
  fs::create_directory(tiny_.path("mixed"));
  const std::vector<uint8_t> grey(64, 100);
  write_png(tiny_.path("mixed") / "a.png", grey, 8, 8, 1);
  refuses({"--samples", tiny_.path("mixed").string()}, {"--samples", "8 x 8 with 1", "8 x 8 with 3"});
  write_png(tiny_.path("mixed") / "b.png", grey, 4, 16, 1);
  refuses({"--samples", tiny_.path("mixed").string()}, {"b.png: is 16 x 4", "the first image 8 x 8"});
}

/// A model of two classes, and a classifier of the same.
class EvaluateClassesTest : public EvaluateTest {
 protected:
  void SetUp() override {
    write_class_folders(Stripes(60), data());
    const std::string model = get(tiny_.model());
    put(tiny_.model(), std::regex_replace(model, std::regex("_channels\": 3"), "_channels\": 1"));
    const Finished trained =
        run_program("train_ddpm",
                    tiny_.train("model", 2, {"--train_data_dir", data().string(), "--class_dropout", "0.1"}));
    ASSERT_EQ(trained.code, 0) << trained.err;
    const Finished classifier = run_program(
        "train_classifier",
        {"--train_data_dir", data().string(), "--output_dir", features(), "--max_train_steps", "60",
         "--train_batch_size", "16", "--learning_rate", "1e-2", "--lr_warmup_steps", "5", "--device", "cpu"});
    ASSERT_EQ(classifier.code, 0) << classifier.err;
  }
  fs::path data() const { return tiny_.path("stripes"); }
  std::string features() const { return tiny_.path("classifier").string(); }
};

TEST_F(EvaluateClassesTest, MeasuresAllThatIsPossible) {
  const json found =
      evaluate("all", {"--data", data().string(), "--features", features(), "--num_timesteps", "3",
                       "--likelihood_images", "8", "--num_inference_steps", "3", "--scheduler", "ddim",
                       "--sweep_guidance", "1,2", "--num_images", "70"});
  ASSERT_EQ(found["samples"].size(), 2u);
  for (const json& point : found["samples"]) {
    EXPECT_EQ(point["images"], 70);
    EXPECT_GT(point["frechet_distance"], 0);
    EXPECT_EQ(point["kernel_distance"]["subset_size"], 60);  // no more images to compare with
    for (const char* share : {"precision", "recall", "accuracy"}) {
      EXPECT_GE(point[share], 0);
      EXPECT_LE(point[share], 1);
    }
  }
  EXPECT_TRUE(found.contains("likelihood"));
  for (const char* file : {"samples.png", "neighbours_by_pixels.png", "neighbours_by_features.png"})
    EXPECT_TRUE(fs::exists(tiny_.path("all") / file)) << file;
}

// The set against itself: no distance, everything covered, and classes as the classifier has learnt them.
TEST_F(EvaluateClassesTest, RealImagesAreWhatTheyAre) {
  const std::string output = tiny_.path("real").string();
  const Finished f =
      run_program("evaluate_ddpm", {"--samples", data().string(), "--data", data().string(), "--features",
                                    features(), "--output", output, "--device", "cpu"});
  ASSERT_EQ(f.code, 0) << f.err;
  const json real = read_json(fs::path(output) / "evaluation.json")["samples"][0];
  EXPECT_EQ(real["images"], 60);
  EXPECT_NEAR(real["frechet_distance"], 0, 1e-6);
  EXPECT_EQ(real["precision"], 1);
  EXPECT_EQ(real["recall"], 1);
  EXPECT_GT(real["accuracy"], 0.9);
}

TEST_F(EvaluateClassesTest, RefusesDataWithoutTheClasses) {
  const Arguments both = {"--data", data().string(), "--features", features()};
  refuses(joined(both, {"--class_label", "3"}), {"--class_label", "knows classes 0 to 2"});
  refuses(joined(both, {"--metrics", "accuracy", "--class_label", "2"}), {"--class_label 2 is no class"});
  refuses({"--data", data().string(), "--metrics", "accuracy"},
          {"--features: needed for --metrics accuracy"});
  fs::rename(data() / "rows", data() / "diagonals");
  refuses({"--data", data().string(), "--features", features()}, {"--data", "diagonals"});
  refuses({"--data", data().string(), "--metrics", "frechet", "--features", tiny_.path("model").string()},
          {"--features", "model"});
}

}  // namespace
}  // namespace imago::test
