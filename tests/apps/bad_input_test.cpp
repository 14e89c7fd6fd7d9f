// What users get wrong: one line that says what, exit code 2, and nothing lost.
#include <gtest/gtest.h>

#include "engine/io/safetensors.h"
#include "models/trainer/checkpoint.h"
#include "tests/apps/tiny_run.h"
#include "tests/support/image_files.h"

namespace imago::test {
namespace {

namespace fs = std::filesystem;

class BadInputTest : public ::testing::Test {
 protected:
  /// train_ddpm with these options instead of the good ones is refused, and leaves no output folder.
  void refuses(const Arguments& options, const std::vector<std::string>& parts) {
    expect_refused("train_ddpm", tiny_.train("output", 2, options), parts);
    EXPECT_FALSE(fs::exists(tiny_.path("output")));
  }
  /// The model's configuration with one text replaced.
  std::string model_with(const std::string& what, const std::string& by) {
    std::string text = get(tiny_.model());
    const size_t at = text.find(what);
    EXPECT_NE(at, std::string::npos) << what;
    put(tiny_.path("changed.json"), text.replace(at, what.size(), by));
    return tiny_.path("changed.json").string();
  }
  /// A finished run of two steps with a checkpoint at each.
  fs::path finished_run() {
    const Finished f = run_program("train_ddpm", tiny_.train("done", 2, {"--checkpointing_steps", "1"}));
    EXPECT_EQ(f.code, 0) << f.err;
    return tiny_.path("done");
  }
  TinyRun tiny_;
};

TEST_F(BadInputTest, Data) {
  refuses({"--train_data_dir", "nowhere"}, {"nowhere: no such folder"});
  fs::create_directory(tiny_.path("empty"));
  refuses({"--train_data_dir", tiny_.path("empty").string()}, {"empty"});
  refuses({"--dataset_name", "huggan/pokemon", "--train_data_dir", ""}, {"huggan/pokemon: no such folder"});
}

TEST_F(BadInputTest, ATruncatedJpegIsSkippedOrRefused) {
  const std::string jpeg = make_jpeg(8, 8, 3, std::vector<uint8_t>(8 * 8 * 3, 99));
  put(fs::path(tiny_.images()) / "cut.jpg", jpeg.substr(0, jpeg.size() / 2));
  refuses({"--strict_data"}, {"cut.jpg", "truncated JPEG"});
  const Finished f = run_program("train_ddpm", tiny_.train("output", 2));
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.err.find("warning: "), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("cut.jpg"), std::string::npos) << f.err;
}

TEST_F(BadInputTest, Numbers) {
  for (const char* name :
       {"--train_batch_size", "--gradient_accumulation_steps", "--num_epochs", "--max_train_steps",
        "--resolution", "--checkpointing_steps", "--checkpoints_total_limit", "--save_images_epochs",
        "--save_model_epochs", "--preview_steps", "--eval_batch_size", "--ddpm_num_steps",
        "--preview_inference_steps", "--ddpm_num_inference_steps"}) {
    for (const char* value : {"0", "-3", "two", "1.5", "", "99999999999999999999"})
      refuses({name, value}, {std::string(name) + ": expected a whole number >= 1, not \"" + value + "\""});
  }
  for (const char* name :
       {"--learning_rate", "--adam_epsilon", "--ema_inv_gamma", "--ema_power", "--snr_gamma"}) {
    for (const char* value : {"0", "-1e-4", "nan", "inf", "much"})
      refuses({name, value}, {std::string(name) + ": expected a number > 0, not \"" + value + "\""});
  }
  refuses({"--adam_beta1", "1"}, {"--adam_beta1: expected a number >= 0 and < 1"});
  refuses({"--lr_warmup_steps", "-1"}, {"--lr_warmup_steps: expected a whole number >= 0"});
  refuses({"--seed", "-1"}, {"--seed: expected a whole number from 0"});
}

TEST_F(BadInputTest, Options) {
  refuses({"--train_bach_size", "4"},
          {"--train_bach_size: there is no such option; did you mean --train_batch_size?"});
  refuses({"images"}, {"unexpected argument \"images\""});
  refuses({"--output_dir"}, {"--output_dir: expected a value"});
  refuses({"--lr_scheduler", "cosinus"}, {"--lr_scheduler", "cosine_with_restarts", "cosinus"});
  refuses({"--mixed_precision", "fp16"}, {"--mixed_precision fp16", "bf16"});
  refuses({"--prediction_type", "noise"}, {"--prediction_type", "epsilon"});
  refuses({"--push_to_hub"}, {"--push_to_hub"});
  refuses({"--logger", "wandb"}, {"--logger wandb: not supported"});
  refuses({"--device", "tpu"}, {"--device", "tpu"});
}

TEST_F(BadInputTest, Objectives) {
  refuses({"--objective", "gan"}, {"--objective", "flow_matching", "edm"});
  refuses({"--objective", "edm", "--snr_gamma", "5"}, {"--snr_gamma", "edm"});
  refuses({"--objective", "edm", "--prediction_type", "sample"}, {"--prediction_type sample", "edm"});
  refuses({"--objective", "flow_matching", "--prediction_type", "epsilon"},
          {"--prediction_type", "flow_matching"});
  refuses({"--objective", "flow_matching", "--ddpm_beta_schedule", "linear"}, {"--ddpm_beta_schedule"});
  refuses({"--level_std", "1"}, {"--level_std", "ddpm"});
  refuses({"--rescale_betas_zero_snr"}, {"--rescale_betas_zero_snr", "v_prediction"});
  refuses({"--objective", "edm", "--rescale_betas_zero_snr"}, {"--rescale_betas_zero_snr", "edm"});
  refuses({"--variance_type", "learned"}, {"--variance_type", "learned_range"});
  refuses({"--objective", "edm", "--variance_type", "learned_range"}, {"--variance_type", "edm"});
  for (const char* value : {"1", "-0.1", "some"})
    refuses({"--class_dropout", value}, {"--class_dropout: expected a number >= 0 and < 1"});
  refuses({"--class_dropout", "0.1"}, {"--class_dropout: the data has no classes"});
  refuses({"--class_conditional"}, {"--class_conditional: the data has no classes"});
}

TEST_F(BadInputTest, Models) {
  refuses({"--model_config_name_or_path", "google/ddpm-cifar10-32"},
          {"google/ddpm-cifar10-32: no such file or folder"});
  refuses({"--resolution", "9"}, {"--resolution", "9", "multiples of 2"});
  refuses({"--model_config_name_or_path", model_with("[8, 16]", "[8, 18]")},
          {"block_out_channels", "18", "4"});
  refuses({"--model_config_name_or_path", model_with("\"AttnDownBlock2D\"", "\"CrossAttnDownBlock2D\"")},
          {"down_block_types", "CrossAttnDownBlock2D", "not supported"});
  refuses({"--model_config_name_or_path", model_with("\"dropout\": 0.1", "\"dropout\": \"much\"")},
          {"dropout"});
  refuses({"--model_config_name_or_path", model_with("{", "[")}, {"changed.json:"});
  refuses({"--model_config_name_or_path", model_with("\"in_channels\": 3", "\"in_channels\": 4")},
          {"in_channels", "4"});
  refuses({"--model_config_name_or_path", model_with("\"dropout\": 0.1", "\"num_class_embeds\": 3")},
          {"class labels"});
  const auto channels = [&](const char* out) {
    return model_with("\"out_channels\": 3", str("\"out_channels\": ", out));
  };
  refuses({"--model_config_name_or_path", channels("6")}, {"out_channels is 6", "learned_range"});
  refuses({"--model_config_name_or_path", channels("5"), "--variance_type", "learned_range"},
          {"out_channels is 5", "expected 6"});
  refuses({"--model_config_name_or_path", IMAGO_SOURCE_DIR "/tests/models/golden/pipeline", "--variance_type",
           "learned_range"},
          {"--variance_type learned_range: the weights", "out_channels are 3, expected 6"});
}

TEST_F(BadInputTest, AnUnknownKeyOfTheModelIsSaid) {
  const Finished f = run_program(
      "train_ddpm",
      tiny_.train("output", 1, {"--model_config_name_or_path", model_with("\"dropout\"", "\"drop_out\"")}));
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.err.find("warning: "), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("drop_out"), std::string::npos) << f.err;
}

TEST_F(BadInputTest, OutputFolders) {
  const fs::path done = finished_run();
  const std::string before = result_of_run(done, 2);
  const std::vector<std::pair<Arguments, std::vector<std::string>>> cases = {
      {{}, {"is not empty", "--overwrite_output_dir", "--resume_from_checkpoint latest"}},
      {{"--resume_from_checkpoint", "checkpoint-7"}, {"checkpoint-7: no such checkpoint"}},
      {{"--resume_from_checkpoint", "checkpoint-1"},
       {"checkpoint-1", "checkpoint-2", "--overwrite_output_dir"}},
      {{"--overwrite_output_dir", "--train_data_dir", "nowhere"}, {"nowhere"}},
      {{"--overwrite_output_dir", "--model_config_name_or_path", "nowhere"}, {"nowhere"}},
      {{"--overwrite_output_dir", "--learning_rate", "-1"}, {"--learning_rate"}},
  };
  for (const auto& [options, parts] : cases) {
    expect_refused("train_ddpm", tiny_.train("done", 2, options), parts);
    EXPECT_TRUE(result_of_run(done, 2) == before) << "something was lost";
  }
  for (const CheckpointEntry& c : list_checkpoints(done)) fs::remove_all(c.path);
  expect_refused("train_ddpm", tiny_.train("done", 2, {"--resume_from_checkpoint", "latest"}),
                 {"holds a model but no checkpoint", "--overwrite_output_dir"});
  EXPECT_TRUE(fs::exists(done / "unet" / "config.json"));

  const std::string file = tiny_.model();
  expect_refused("train_ddpm", tiny_.train("x", 2, {"--output_dir", file}), {"--output_dir", "is a file"});
  const Finished f = run_program("train_ddpm", tiny_.train("x", 2, {"--output_dir", file + "/below"}));
  EXPECT_EQ(f.code, 1) << f.err;  // nothing wrong with the option: it cannot be written there
  EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 1) << f.err;
}

TEST_F(BadInputTest, OverwritingKeepsWhatIsNotOfARun) {
  const fs::path done = finished_run();
  put(done / "notes.txt", "mine");
  put(done / "samples" / "favourite.png", "mine");
  const Finished f = run_program("train_ddpm", tiny_.train("done", 1, {"--overwrite_output_dir"}));
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_EQ(get(done / "notes.txt"), "mine");
  EXPECT_EQ(get(done / "samples" / "favourite.png"), "mine");
  EXPECT_TRUE(list_checkpoints(done).empty());
}

TEST_F(BadInputTest, Checkpoints) {
  const fs::path done = finished_run();
  const auto resume = [&](const Arguments& more, const std::vector<std::string>& parts) {
    Arguments a = {"--resume_from_checkpoint", "latest"};
    a.insert(a.end(), more.begin(), more.end());
    expect_refused("train_ddpm", tiny_.train("done", 3, a), parts);
  };
  const std::string wider = model_with("[8, 16]", "[8, 32]");
  resume({"--model_config_name_or_path", wider},
         {"checkpoint-2", "another model", "block_out_channels", "[8,16]", "[8,32]"});
  resume({"--ddpm_num_steps", "500"}, {"checkpoint-2", "another noise schedule", "num_train_timesteps"});
  resume({"--prediction_type", "v_prediction"}, {"checkpoint-2", "prediction_type"});

  const fs::path moments = done / "checkpoint-2" / "optimizer" / "exp_avg.safetensors";
  const std::string good = get(moments);
  put(moments, good.substr(0, good.size() - 5));
  resume({}, {"exp_avg.safetensors"});
  put(moments, good);
  const fs::path state = done / "checkpoint-2" / "trainer_state.json";
  const std::string good_state = get(state);
  for (const char* bad : {"{}", "{\"format\": 9, \"step\": 1, \"settings\": {}}",
                          "{\"format\": 1, \"step\": -1, \"settings\": {}}", "{"}) {
    put(state, bad);
    resume({}, {"trainer_state.json"});
  }
  fs::remove(state);
  resume({}, {"checkpoint-2", "trainer_state.json"});
  put(state, good_state);
  EXPECT_EQ(run_program("train_ddpm", tiny_.train("done", 3, {"--resume_from_checkpoint", "latest"})).code,
            0);
}

TEST_F(BadInputTest, TwoRunsDoNotShareAFolder) {
  Program first("train_ddpm", tiny_.train("output", 1000000));
  while (first.running() && !fs::exists(tiny_.path("output") / "metrics.jsonl")) {
  }
  expect_refused("train_ddpm", tiny_.train("output", 2, {"--overwrite_output_dir"}),
                 {"another run is writing there"});
  EXPECT_TRUE(fs::exists(tiny_.path("output") / "metrics.jsonl"));
}

TEST_F(BadInputTest, Sampling) {
  const fs::path done = finished_run();
  const auto refuse = [&](Arguments more, const std::vector<std::string>& parts) {
    Arguments a = {"--model", done.string(), "--num_inference_steps",
                   "2",       "--output",    tiny_.path("grid.png").string()};
    a.insert(a.end(), more.begin(), more.end());
    expect_refused("sample_ddpm", a, parts);
    EXPECT_FALSE(fs::exists(tiny_.path("grid.png")));
  };
  expect_refused("sample_ddpm", {}, {"--model"});
  refuse({"--model", "nowhere"}, {"nowhere: no such folder"});
  refuse({"--model", tiny_.images()}, {"images", "config.json"});
  for (const char* name :
       {"--num_images", "--num_inference_steps", "--batch_size", "--resolution", "--columns"})
    refuse({name, "0"}, {std::string(name) + ": expected a whole number >= 1"});
  refuse({"--num_inference_steps", "1001"}, {"--num_inference_steps 1001", "1000"});
  refuse({"--resolution", "9"}, {"--resolution", "9"});
  refuse({"--scheduler", "pndm"}, {"--scheduler", "ddim", "pndm"});
  refuse({"--scheduler", "ddpm", "--eta", "1"}, {"--eta"});
  refuse({"--scheduler", "ddim", "--eta", "-1"}, {"--eta"});
  refuse({"--class_label", "1"}, {"--class_label", "no classes"});
  refuse({"--output", done.string()}, {"is a folder"});
  refuse({"--initial_noise", "nowhere.safetensors"}, {"nowhere.safetensors"});

  const std::vector<float> zeros(2 * 4 * 8 * 8);
  const NamedTensor wrong{"noise", {zeros.data(), DType::kFloat32, {2, 4, 8, 8}}};
  const std::string noise = tiny_.path("noise.safetensors").string();
  write_safetensors(noise, std::span(&wrong, 1));
  refuse({"--initial_noise", noise}, {"--initial_noise", "[N,3,H,W]"});
  const NamedTensor right{"noise", {zeros.data(), DType::kFloat32, {2, 3, 8, 8}}};
  write_safetensors(noise, std::span(&right, 1));
  refuse({"--initial_noise", noise, "--num_images", "3"}, {"--num_images 3", "2 images"});
  const NamedTensor other{"x", right.tensor};
  write_safetensors(noise, std::span(&other, 1));
  refuse({"--initial_noise", noise}, {"noise.safetensors", "noise"});

  const fs::path weights = done / "unet" / "diffusion_pytorch_model.safetensors";
  const std::string good = get(weights);
  put(weights, good.substr(0, good.size() / 2));
  refuse({}, {"diffusion_pytorch_model.safetensors"});
  put(weights, "\xff\xff\xff\xff\xff\xff\xff\x7f" + good.substr(8));  // a header of 9 * 10^18 bytes
  refuse({}, {"diffusion_pytorch_model.safetensors"});
  fs::remove(weights);
  refuse({}, {"has no weights"});
}

}  // namespace
}  // namespace imago::test
