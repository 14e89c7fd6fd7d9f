#include "apps/common/classifier_options.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/common/command_line.h"
#include "engine/io/json.h"

namespace imago {

namespace {

const char* const kDescription =
    "Trains a classifier (a small ResNet) on images with classes. Sets of images are compared by its "
    "features, and "
    "samples by its answers.\n\n"
    "  train_classifier --train_data_dir fashion-mnist/ --output_dir fashion-classifier\n\n"
    "The output folder appears when training ends: config.json, model.safetensors, evaluation.json (accuracy "
    "and "
    "confusion matrix on the held-out images), metrics.jsonl. Ctrl-C leaves nothing.\n";

constexpr int kLargestDefault =
    64;  // resolution, where nobody says one: larger images cost much and add little

void add_data_options(CommandLine& cli, ClassifierOptions& o) {
  cli.heading("Data");
  cli.text("--train_data_dir", o.train_data_dir,
           "Images with classes: a folder with a sub-folder for each class, IDX files with labels (MNIST), "
           "CIFAR-10 "
           "batches, the hub's Parquet files, an atlas");
  cli.whole_number(
      "--resolution", o.resolution, 1,
      "Side of the square that images are resized and cropped to; default: the model's sample_size, "
      "else that of the first image, at most 64");
  cli.number("--validation_share", o.validation_share, NumberRange{0, 1, true, true},
             "Hold out this share of the images instead of the data's own test images; default where there "
             "are none: "
             "0.1");
  cli.flag("--random_flip", o.random_flip, "Mirror images left to right, each by the toss of a coin");
  cli.flag("--strict_data", o.strict_data, "Refuse broken images instead of skipping them with a warning");
  cli.whole_number("--dataloader_num_workers", o.dataloader_num_workers, 0,
                   "Threads that prepare batches ahead");
}

void add_training_options(CommandLine& cli, ClassifierOptions& o) {
  cli.heading("Model");
  cli.text("--model_config_name_or_path", o.model_config_name_or_path,
           "A ResNet's config.json, or a folder that holds one: its shape, not its weights. Default: three "
           "levels of "
           "16, 48 and 96 channels, a block each");
  cli.heading("Training");
  cli.whole_number("--train_batch_size", o.train_batch_size, 1, "Images an update");
  cli.whole_number("--num_epochs", o.num_epochs, 1, "How often to go through the data");
  cli.whole_number("--max_train_steps", o.max_train_steps, 1, "Updates; instead of --num_epochs");
  cli.number("--learning_rate", o.learning_rate, NumberRange::positive(),
             "After warm-up; then it falls along a cosine");
  cli.whole_number("--lr_warmup_steps", o.lr_warmup_steps, 0,
                   "Updates over which the learning rate grows from 0");
  cli.number("--adam_weight_decay", o.adam_weight_decay, NumberRange::at_least(0), "AdamW: weight decay");
  cli.seed("--seed", o.seed, "Of all random numbers: the same seed gives the same classifier");
}

/// The folder's config.json, or the file itself.
ResNetConfig read_config(const ClassifierOptions& o) {
  if (o.model_config_name_or_path.empty()) return {};
  std::filesystem::path path = o.model_config_name_or_path;
  if (!std::filesystem::exists(path))
    bad_input("--model_config_name_or_path ", path.string(), ": no such file or folder");
  if (std::filesystem::is_directory(path)) path /= "config.json";
  return parse_resnet_config(read_json(path), path.string(), /*without_classes=*/true);
}

}  // namespace

std::optional<ClassifierOptions> parse_classifier_options(int argc, const char* const* argv) {
  ClassifierOptions o;
  CommandLine cli("train_classifier", kDescription);
  add_data_options(cli, o);
  add_training_options(cli, o);
  cli.heading("Machine");
  cli.choice("--device", o.device, {"auto", "cpu", "cuda"}, "Where to compute");
  cli.heading("Output");
  cli.text("--output_dir", o.output_dir, "Receives the classifier");
  cli.flag("--overwrite_output_dir", o.overwrite_output_dir, "Replace a classifier that is there");
  if (!cli.parse(argc, argv)) return std::nullopt;
  if (o.train_data_dir.empty())
    bad_input("--train_data_dir: expected the folder with the images to train on");
  if (o.output_dir.empty()) bad_input("--output_dir: expected a folder");
  return o;
}

ClassifierTrainConfig make_classifier_config(const ClassifierOptions& o, const Dataset& train) {
  if (train.class_names().empty())
    bad_input("--train_data_dir: the data has no classes: ", train.description());
  ClassifierTrainConfig c;
  c.model = read_config(o);
  c.model.class_names = train.class_names();
  if (o.model_config_name_or_path.empty()) {
    const Image first = train.image(0);
    c.model.in_channels = first.channels;
    c.model.sample_size = std::min({first.height, first.width, kLargestDefault});
  }
  c.model.sample_size = o.resolution.value_or(c.model.sample_size);
  c.model.validate("--train_data_dir " + o.train_data_dir);
  c.batch_size = o.train_batch_size;
  const int64_t steps_per_epoch = std::max<int64_t>(1, train.size() / o.train_batch_size);
  c.max_train_steps = o.max_train_steps ? *o.max_train_steps : steps_per_epoch * o.num_epochs;
  c.learning_rate = o.learning_rate;
  c.lr_warmup_steps = o.lr_warmup_steps;
  c.optimizer.weight_decay = o.adam_weight_decay;
  c.random_flip = o.random_flip;
  c.loader_workers = o.dataloader_num_workers;
  c.seed = o.seed;
  c.device = naming_option("--device", [&] { return parse_device(o.device); });
  return c;
}

}  // namespace imago
