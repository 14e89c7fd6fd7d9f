// train_classifier as a user runs it.
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/image/png.h"
#include "engine/io/json.h"
#include "models/report/metrics.h"
#include "models/resnet/classifier.h"
#include "tests/apps/program.h"
#include "tests/support/striped_images.h"
#include "tests/support/temp_folder.h"

namespace imago::test {
namespace {

namespace fs = std::filesystem;

/// images/rows and images/columns, with 30 images each.
class ClassifierProgramTest : public ::testing::Test {
 protected:
  ClassifierProgramTest() { write_class_folders(Stripes(60), folder_ / "images"); }
  Arguments train(const std::string& output, const Arguments& more = {}) const {
    Arguments a = {"--train_data_dir",
                   (folder_ / "images").string(),
                   "--output_dir",
                   (folder_ / output).string(),
                   "--max_train_steps",
                   "30",
                   "--train_batch_size",
                   "16",
                   "--learning_rate",
                   "1e-2",
                   "--lr_warmup_steps",
                   "5",
                   "--seed",
                   "7",
                   "--device",
                   "cpu"};
    a.insert(a.end(), more.begin(), more.end());
    return a;
  }
  /// Refused, and nothing is left.
  void refuses(const Arguments& options, const std::vector<std::string>& parts) const {
    expect_refused("train_classifier", train("output", options), parts);
    EXPECT_FALSE(fs::exists(folder_ / "output"));
  }
  TempFolder folder_;
};

TEST_F(ClassifierProgramTest, FromImagesToAFolderThatOpens) {
  const Finished f = run_program("train_classifier", train("output", {"--validation_share", "0.2"}));
  ASSERT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.out.find("training on 48 of 60 images, 2 classes"), std::string::npos) << f.out;
  EXPECT_NE(f.out.find("measuring by 12 of 60 images"), std::string::npos) << f.out;
  const fs::path output = folder_ / "output";
  const nlohmann::json evaluation = read_json(output / "evaluation.json");
  EXPECT_EQ(evaluation["images"], 12);
  EXPECT_GT(evaluation["accuracy"], 0.8);
  EXPECT_EQ(evaluation["classes"], nlohmann::json({"columns", "rows"}));
  EXPECT_EQ(read_metrics(output / "metrics.jsonl").size(), 30u);
  const Classifier classifier(output, Device::kCpu);
  EXPECT_EQ(classifier.config().sample_size, 8);
  EXPECT_EQ(classifier.config().in_channels, 1);
  EXPECT_GT(classifier.evaluate(std::make_shared<Stripes>(100, 8, 1000)).accuracy(), 0.8);

  // It is not overwritten by accident, but if asked to; the same seed gives the same weights.
  expect_refused("train_classifier", train("output"),
                 {"--output_dir", "is not empty", "--overwrite_output_dir"});
  const std::string weights = get(output / "model.safetensors");
  const Finished again = run_program(
      "train_classifier", train("output", {"--validation_share", "0.2", "--overwrite_output_dir"}));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(get(output / "model.safetensors"), weights);
}

TEST_F(ClassifierProgramTest, NothingElseIsEverOverwritten) {
  put(folder_ / "output/thesis.txt", "years of work");
  expect_refused("train_classifier", train("output", {"--overwrite_output_dir"}),
                 {"--output_dir", "holds thesis.txt"});
  EXPECT_EQ(get(folder_ / "output/thesis.txt"), "years of work");
  put(folder_ / "file", "");
  expect_refused("train_classifier", train("file"), {"--output_dir", "is a file"});
}

TEST_F(ClassifierProgramTest, TheTestSplitIsWhatItIsMeasuredBy) {
  for (const char* split : {"train", "test"})
    for (const char* name : {"rows", "columns"}) {
      fs::create_directories(folder_ / "splits" / split / name);
      for (const auto& e : fs::directory_iterator(folder_ / "images" / name))
        fs::copy(e.path(), folder_ / "splits" / split / name);
    }
  const Arguments data = {"--train_data_dir", (folder_ / "splits").string()};
  const Finished f = run_program("train_classifier", train("output", data));
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.out.find("measuring by 60 images"), std::string::npos) << f.out;
  fs::create_directories(folder_ / "splits/test/dots");
  fs::copy(folder_ / "images/rows/100.png", folder_ / "splits/test/dots");
  fs::remove_all(folder_ / "output");
  refuses(data, {"the classifier knows no class \"dots\""});
}

TEST_F(ClassifierProgramTest, CtrlCLeavesNothing) {
  Program program("train_classifier", train("output", {"--max_train_steps", "1000000"}));
  while (program.running() && program.err().find("step 1/") == std::string::npos)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  program.signal(SIGINT);
  const Finished f = program.wait();
  EXPECT_EQ(f.code, 128 + SIGINT) << f.err;
  EXPECT_FALSE(f.killed);
  EXPECT_NE(f.err.find("stopped by SIGINT"), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("nothing was written"), std::string::npos) << f.err;
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"images"});
}

TEST_F(ClassifierProgramTest, BadInput) {
  refuses({"--train_data_dir", ""}, {"--train_data_dir: expected the folder"});
  refuses({"--train_data_dir", "nowhere"}, {"nowhere: no such folder"});
  refuses({"--train_data_dir", (folder_ / "images/rows").string()},
          {"--train_data_dir: the data has no classes: 27 of 30 images"});
  refuses({"--validation_share", "1"}, {"--validation_share: expected a number > 0 and < 1"});
  refuses({"--resolution", "0"}, {"--resolution: expected a whole number >= 1"});
  refuses({"--train_batch_size", "none"}, {"--train_batch_size"});
  refuses({"--model_config_name_or_path", "nowhere"}, {"--model_config_name_or_path nowhere: no such file"});
  put(folder_ / "config.json", R"({"_class_name": "UNet2DModel"})");
  refuses({"--model_config_name_or_path", (folder_ / "config.json").string()},
          {"UNet2DModel", "ResNetClassifier"});
  put(folder_ / "config.json", R"({"norm_num_groups": 3})");
  refuses({"--model_config_name_or_path", folder_.path().string()},
          {"block_out_channels: 16 is no multiple"});
  fs::remove_all(folder_ / "images/rows");
  refuses({}, {"class_names: expected two classes or more"});
}

TEST_F(ClassifierProgramTest, AFullDiskLeavesNothing) {
  const Finished f = run_program("train_classifier", train("output"), /*file_size_limit=*/50000);
  EXPECT_EQ(f.code, 1) << f.err;
  EXPECT_NE(f.err.find("cannot write"), std::string::npos) << f.err;
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"images"});
}

}  // namespace
}  // namespace imago::test
