// The command line of train_classifier.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/data/dataset.h"
#include "models/resnet/training.h"

namespace imago {

struct ClassifierOptions {
  // Data
  std::string train_data_dir;
  std::optional<int> resolution;
  std::optional<double> validation_share;
  bool random_flip = false, strict_data = false;
  int dataloader_num_workers = 0;
  // Model
  std::string model_config_name_or_path;
  // Training
  int train_batch_size = 128;
  int64_t num_epochs = 10;
  std::optional<int> max_train_steps;
  double learning_rate = 3e-3, adam_weight_decay = 0.05;
  int64_t lr_warmup_steps = 100;
  uint64_t seed = 0;
  // Machine
  std::string device = "auto";
  // Output
  std::string output_dir = "classifier";
  bool overwrite_output_dir = false;
};

/// Bad input, naming the option, for anything that is not as it should be. Nothing: --help was printed.
std::optional<ClassifierOptions> parse_classifier_options(int argc, const char* const* argv);

/// What the options and the training images say together: classes, channels and resolution come from the
/// images where neither options nor configuration say otherwise. Bad input for images without classes.
ClassifierTrainConfig make_classifier_config(const ClassifierOptions& options, const Dataset& train);

}  // namespace imago
