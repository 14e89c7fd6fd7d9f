// The command line of train_ddpm: the option names and defaults of diffusers' train_unconditional.py, and a
// few more.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/data/dataset.h"
#include "models/trainer/train_config.h"

namespace imago {

struct TrainOptions {
  // Data
  std::string train_data_dir, dataset_name;
  std::optional<int> resolution;
  bool center_crop = false, random_flip = false, strict_data = false;
  int dataloader_num_workers = 0;
  // Model
  std::string model_config_name_or_path;
  std::string objective = "ddpm";
  std::optional<double> level_mean, level_std;
  double sigma_data = 0.5;
  std::string prediction_type = "epsilon", ddpm_beta_schedule = "linear";
  int ddpm_num_steps = 1000;
  std::string variance_type = "fixed_small";
  bool rescale_betas_zero_snr = false;
  bool class_conditional = false;
  double class_dropout = 0;
  // Training
  int train_batch_size = 16, gradient_accumulation_steps = 1;
  int64_t num_epochs = 100;
  std::optional<int> max_train_steps;
  double learning_rate = 1e-4, adam_beta1 = 0.95, adam_beta2 = 0.999, adam_weight_decay = 1e-6,
         adam_epsilon = 1e-8;
  double max_grad_norm = 1, snr_gamma = 5;
  std::string lr_scheduler = "cosine";
  int64_t lr_warmup_steps = 500;
  bool use_ema = false;
  double ema_inv_gamma = 1, ema_power = 0.75, ema_max_decay = 0.9999;
  uint64_t seed = 0;
  // Machine
  std::string device = "auto", mixed_precision = "no";
  bool gradient_checkpointing = false, plan = false;
  // Output
  std::string output_dir = "ddpm-model-64", resume_from_checkpoint, logger = "tensorboard",
              logging_dir = "logs";
  bool overwrite_output_dir = false;
  int64_t checkpointing_steps = 500;
  std::optional<int> checkpoints_total_limit;
  int64_t save_model_epochs = 10, save_images_epochs = 10;
  std::optional<int> preview_steps, ddpm_num_inference_steps;
  int preview_inference_steps = 50, eval_batch_size = 16;

  // Which of those that a model folder says, too, were given
  bool objective_given = false, sigma_data_given = false, prediction_type_given = false,
       variance_type_given = false, beta_schedule_given = false, num_steps_given = false,
       snr_gamma_given = false;
  /// Every option with its value, for the report.
  std::vector<std::pair<std::string, std::string>> table;
};

/// Bad input, naming the option, for anything that is not as it should be. Nothing: --help was printed.
std::optional<TrainOptions> parse_train_options(int argc, const char* const* argv);

/// What the options and the model's configuration say together. `warnings` receives a line for each thing in
/// the configuration that has no effect. What depends on the data is left to complete_for_data().
TrainConfig make_train_config(const TrainOptions& options, std::vector<std::string>& warnings);
/// The number of updates, where only epochs are given, and the classes of a model that is to know them.
void complete_for_data(TrainConfig& config, const TrainOptions& options, const Dataset& data);

}  // namespace imago
