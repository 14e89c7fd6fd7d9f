#include "tests/apps/tiny_run.h"

#include <sstream>

#include "engine/image/png.h"

namespace imago::test {
namespace fs = std::filesystem;

namespace {

constexpr int kSide = 8;
constexpr const char* kModel = R"({
  "sample_size": 8, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "norm_num_groups": 4,
  "block_out_channels": [8, 16], "attention_head_dim": 8, "dropout": 0.1,
  "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]
})";

}  // namespace

TinyRun::TinyRun(int images) {
  put(path("model.json"), kModel);
  fs::create_directory(path("images"));
  for (int p = 0; p < images; ++p) {
    Image image{kSide, kSide, 3, {}};
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        for (int c = 0; c < 3; ++c)
          image.pixels.push_back(static_cast<uint8_t>((p * 37 + y * (c + 1) * 16 + x * (3 - c) * 12) % 256));
      }
    }
    write_png(path("images") / (std::to_string(100 + p) + ".png"), image);
  }
}

Arguments TinyRun::train(const std::string& output, int steps, const Arguments& more) const {
  Arguments a = {"--train_data_dir",
                 images(),
                 "--model_config_name_or_path",
                 model(),
                 "--output_dir",
                 path(output).string(),
                 "--max_train_steps",
                 std::to_string(steps),
                 "--train_batch_size",
                 "4",
                 "--learning_rate",
                 "1e-3",
                 "--lr_scheduler",
                 "constant",
                 "--seed",
                 "7",
                 "--use_ema",
                 "--device",
                 "cpu",
                 "--preview_steps",
                 "1000000",
                 "--eval_batch_size",
                 "4",
                 "--preview_inference_steps",
                 "4",
                 "--save_model_epochs",
                 "1000000"};
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

std::string result_of_run(const fs::path& output, int last_step) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& e : fs::recursive_directory_iterator(output)) {
    if (e.is_regular_file()) files.push_back(e.path().lexically_relative(output));
  }
  std::sort(files.begin(), files.end());
  std::ostringstream all;
  const std::string last = "checkpoint-" + std::to_string(last_step);
  for (const fs::path& file : files) {
    const std::string top = file.begin()->string();
    if (top == "report.html" || top == "logs" || (top.rfind("checkpoint-", 0) == 0 && top != last)) continue;
    all << "\n== " << file.string() << "\n";
    std::istringstream lines(get(output / file));
    if (file.filename() != "metrics.jsonl") {
      all << lines.str();
      continue;
    }
    for (std::string line; std::getline(lines, line);)
      all << line.substr(0, line.find(",\"seconds\"")) << "\n";
  }
  return all.str();
}

}  // namespace imago::test
