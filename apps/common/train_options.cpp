#include "apps/common/train_options.h"

#include <algorithm>
#include <cstdlib>

#include "apps/common/command_line.h"
#include "kernels/error.h"
#include "models/diffusion/pipeline_folder.h"

namespace imago {
namespace fs = std::filesystem;

namespace {

const char* const kDescription =
    "Trains a denoising diffusion model (DDPM) on images, and writes a diffusers pipeline folder.\n\n"
    "  train_ddpm --train_data_dir images/ --resolution 32 --output_dir runs/one --use_ema\n\n"
    "Options have the names and defaults of diffusers' train_unconditional.py. Ctrl-C ends the step, writes "
    "a checkpoint\n"
    "and says how to go on.\n";

void add_data_options(CommandLine& cli, TrainOptions& o) {
  cli.heading("Data");
  cli.text("--train_data_dir", o.train_data_dir,
           "Images: a folder of PNG, JPEG and WebP files, of the hub's Parquet files (or one such file), of "
           "IDX files "
           "(MNIST), of CIFAR-10 batches, or an atlas");
  cli.text(
      "--dataset_name", o.dataset_name,
      "Another name for --train_data_dir; data sets of the hub are not fetched: give their Parquet files");
  cli.whole_number("--resolution", o.resolution, 1,
                   "Side of the square that images are resized and cropped to; default: the model's "
                   "sample_size, else 64");
  cli.flag("--center_crop", o.center_crop, "Crop at the centre instead of at random");
  cli.flag("--random_flip", o.random_flip, "Mirror images left to right, each by the toss of a coin");
  cli.flag("--strict_data", o.strict_data, "Refuse broken images instead of skipping them with a warning");
  cli.whole_number("--dataloader_num_workers", o.dataloader_num_workers, 0,
                   "Threads that prepare batches ahead");
}

void add_model_options(CommandLine& cli, TrainOptions& o) {
  cli.heading("Model");
  cli.text("--model_config_name_or_path", o.model_config_name_or_path,
           "A UNet2DModel's config.json, or a folder that holds one; with weights beside it, training starts "
           "from them. "
           "Default: the 113.7 M parameter model of train_unconditional.py");
  cli.choice(
      "--objective", o.objective, {"ddpm", "flow_matching", "edm"},
      "What is learned: to undo the steps of a noise schedule; the velocity from images to noise "
      "(flow matching); images at any noise level, preconditioned (EDM). Default: the model's, else ddpm");
  cli.number("--level_mean", o.level_mean, NumberRange{-100, 100},
             "edm: mean of ln(sigma), default -1.2; flow_matching: mean of logit(s), default 0");
  cli.number("--level_std", o.level_std, NumberRange{0, 100, true},
             "Its standard deviation; default 1.2 (edm), 1 (flow_matching)");
  cli.number("--sigma_data", o.sigma_data, NumberRange::positive(), "edm: standard deviation of the images");
  cli.choice("--prediction_type", o.prediction_type, {"epsilon", "sample", "v_prediction"},
             "What the network predicts");
  cli.choice(
      "--variance_type", o.variance_type,
      {"fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned_range"},
      "Of the sampler's noise; learned_range: the network learns it, in as many more output channels, by the "
      "hybrid loss (Nichol 2021)");
  cli.flag("--rescale_betas_zero_snr", o.rescale_betas_zero_snr,
           "Leave no signal at the last noise level, where sampling begins (Lin 2023), and sample from there "
           "(timestep spacing \"trailing\"); for v_prediction and sample");
  cli.flag("--class_conditional", o.class_conditional,
           "Tell the model the class of each image; done by itself where its configuration has classes");
  cli.number("--class_dropout", o.class_dropout, NumberRange{0, 1, false, true},
             "Leave the class out for this share of the images, so that sampling can be guided; implies "
             "--class_conditional");
  cli.whole_number("--ddpm_num_steps", o.ddpm_num_steps, 1, "Noise levels");
  cli.choice("--ddpm_beta_schedule", o.ddpm_beta_schedule,
             {"linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"}, "How the noise grows");
}

void add_training_options(CommandLine& cli, TrainOptions& o) {
  cli.heading("Training");
  cli.whole_number("--train_batch_size", o.train_batch_size, 1,
                   "Images that go through the network together");
  cli.whole_number("--gradient_accumulation_steps", o.gradient_accumulation_steps, 1, "Batches an update");
  cli.whole_number("--num_epochs", o.num_epochs, 1, "How often to go through the data");
  cli.whole_number("--max_train_steps", o.max_train_steps, 1, "Updates; instead of --num_epochs");
  cli.number("--learning_rate", o.learning_rate, NumberRange::positive(), "After warm-up");
  cli.choice("--lr_scheduler", o.lr_scheduler,
             {"linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"},
             "How the learning rate goes on after warm-up");
  cli.whole_number("--lr_warmup_steps", o.lr_warmup_steps, 0,
                   "Updates over which the learning rate grows from 0");
  const NumberRange below_one{0, 1, false, true};
  cli.number("--adam_beta1", o.adam_beta1, below_one, "AdamW: decay of the first moment");
  cli.number("--adam_beta2", o.adam_beta2, below_one, "AdamW: decay of the second moment");
  cli.number("--adam_weight_decay", o.adam_weight_decay, NumberRange::at_least(0), "AdamW: weight decay");
  cli.number("--adam_epsilon", o.adam_epsilon, NumberRange::positive(), "AdamW: epsilon");
  cli.number("--max_grad_norm", o.max_grad_norm, NumberRange::at_least(0),
             "Clip the gradient's norm to this; 0: do not");
  cli.number("--snr_gamma", o.snr_gamma, NumberRange::positive(),
             "Weigh losses by min-SNR with this gamma; if not given, do not");
  cli.flag("--use_ema", o.use_ema, "Keep a moving average of the weights, sample from it and save it");
  cli.number("--ema_inv_gamma", o.ema_inv_gamma, NumberRange::positive(), "EMA warm-up: inverse gamma");
  cli.number("--ema_power", o.ema_power, NumberRange::positive(), "EMA warm-up: power");
  cli.number("--ema_max_decay", o.ema_max_decay, NumberRange{0, 1}, "EMA: largest decay");
  cli.seed("--seed", o.seed, "Of all random numbers: the same seed gives the same run");
}

void add_machine_options(CommandLine& cli, TrainOptions& o) {
  cli.heading("Machine");
  cli.choice("--device", o.device, {"auto", "cpu", "cuda"}, "Where to compute");
  cli.choice("--mixed_precision", o.mixed_precision, {"no", "fp16", "bf16"},
             "bf16: bfloat16 activations, float32 weights; fp16 is refused");
  cli.flag("--gradient_checkpointing", o.gradient_checkpointing,
           "Compute activations again in backward: less memory, more time");
  cli.flag("--plan", o.plan, "Print layers, parameters, FLOPs and bytes, and stop");
}

void add_output_options(CommandLine& cli, TrainOptions& o) {
  cli.heading("Output");
  cli.text("--output_dir", o.output_dir,
           "Receives the model, checkpoints, samples/, metrics.jsonl and report.html");
  cli.choice("--logger", o.logger, {"tensorboard", "wandb", "none"},
             "Who is told of curves and samples, beside metrics.jsonl and report.html; wandb is refused");
  cli.text("--logging_dir", o.logging_dir, "Where in the output folder TensorBoard's event files go");
  cli.flag("--overwrite_output_dir", o.overwrite_output_dir, "Remove what an earlier run left there");
  cli.whole_number("--checkpointing_steps", o.checkpointing_steps, 1,
                   "Write a checkpoint every so many updates");
  cli.whole_number("--checkpoints_total_limit", o.checkpoints_total_limit, 1,
                   "Keep only the newest so many checkpoints");
  cli.text("--resume_from_checkpoint", o.resume_from_checkpoint,
           "Go on from this checkpoint folder, or from the \"latest\" one");
  cli.whole_number("--save_model_epochs", o.save_model_epochs, 1,
                   "Write the model every so many epochs, and at the end");
  cli.whole_number("--save_images_epochs", o.save_images_epochs, 1,
                   "Sample images every so many epochs, and at the end");
  cli.whole_number("--preview_steps", o.preview_steps, 1, "Sample images every so many updates instead");
  cli.whole_number("--eval_batch_size", o.eval_batch_size, 1, "Images to sample");
  cli.whole_number("--preview_inference_steps", o.preview_inference_steps, 1,
                   "Steps to sample them in, by DDIM");
  cli.whole_number("--ddpm_num_inference_steps", o.ddpm_num_inference_steps, 1,
                   "Sample them by DDPM instead, in so many steps (train_unconditional.py does, in 1000)");
}

void add_foreign_options(CommandLine& cli) {
  cli.heading("Options of train_unconditional.py that are refused or have no effect");
  cli.refused("--push_to_hub", false,
              "nothing is uploaded from here; use `huggingface-cli upload` on the output folder");
  for (const char* name : {"--hub_token", "--hub_model_id"}) cli.ignored(name, true, "nothing is uploaded");
  cli.ignored("--hub_private_repo", false, "nothing is uploaded");
  cli.refused("--dataset_config_name", true,
              "data sets of the hub are not fetched; give a folder with --train_data_dir");
  cli.ignored("--cache_dir", true, "nothing is downloaded");
  cli.ignored("--local_rank", true, "there is one process");
  cli.ignored("--enable_xformers_memory_efficient_attention", false,
              "attention is always memory-efficient here");
  cli.refused("--preserve_input_precision", false, "images are read with 8 bits a channel");
}

/// Updates, where only epochs are given.
int64_t steps_of_epochs(const TrainOptions& o, const Dataset& data) {
  const int64_t batches = std::max<int64_t>(1, data.size() / o.train_batch_size) * o.num_epochs;
  return (batches + o.gradient_accumulation_steps - 1) / o.gradient_accumulation_steps;
}

/// A row of the class table for each class of the data and, with class dropout, a last one for "no class".
void add_class_table(TrainConfig& config, const TrainOptions& o, int classes) {
  if (!config.initial_weights.empty())
    bad_input("--class_conditional: the weights of ", o.model_config_name_or_path,
              " are those of a model without classes");
  config.unet.num_class_embeds = classes + (o.class_dropout > 0 ? 1 : 0);
}

void choose_null_class(UNetConfig& unet, int classes) {
  if (unet.class_embed_type)
    bad_input("--class_dropout: class_embed_type \"", *unet.class_embed_type,
              "\" has no table of classes, and so no row for \"no class\"");
  if (*unet.num_class_embeds <= classes)
    bad_input("--class_dropout: num_class_embeds is ", *unet.num_class_embeds, ", and the data has ", classes,
              " classes: expected one row more, for \"no class\"");
  unet.imago_null_class = *unet.num_class_embeds - 1;
}

/// The kind that is trained: the one that --objective names, else that of the model folder.
SchedulerConfig::Kind trained_kind(const TrainOptions& o, const std::optional<SchedulerConfig>& of_model) {
  using enum SchedulerConfig::Kind;
  if (of_model && !o.objective_given) return has_betas(of_model->kind) ? kDdpm : of_model->kind;
  return o.objective == "edm" ? kEdmEuler : o.objective == "flow_matching" ? kFlowEuler : kDdpm;
}

/// Options that the objective does not know.
void refuse_options_of_others(const TrainOptions& o, SchedulerConfig::Kind kind) {
  const bool betas = has_betas(kind), flow = is_flow(kind);
  const auto refuse = [&](const char* option, bool given) {
    if (given)
      bad_input(option, ": has no meaning for the objective ",
                betas  ? "ddpm"
                : flow ? "flow_matching"
                       : "edm");
  };
  refuse("--ddpm_beta_schedule", o.beta_schedule_given && !betas);
  refuse("--snr_gamma", o.snr_gamma_given && !betas);
  refuse("--variance_type", o.variance_type_given && !betas);
  refuse("--rescale_betas_zero_snr", o.rescale_betas_zero_snr && !betas);
  refuse("--level_mean", o.level_mean && betas);
  refuse("--level_std", o.level_std && betas);
  refuse("--sigma_data", o.sigma_data_given && (betas || flow));
  refuse("--prediction_type", o.prediction_type_given && flow);
  refuse("--prediction_type sample", o.prediction_type_given && !betas && o.prediction_type == "sample");
}

/// The objective's numbers: the model folder's, where it was trained for the same, with what the options say
/// on top.
SchedulerConfig make_scheduler_config(const TrainOptions& o, std::optional<SchedulerConfig> of_model) {
  const SchedulerConfig::Kind kind = trained_kind(o, of_model);
  refuse_options_of_others(o, kind);
  if (of_model && (has_betas(of_model->kind) != has_betas(kind) || is_flow(of_model->kind) != is_flow(kind)))
    of_model.reset();
  SchedulerConfig s = of_model ? *of_model : defaults_of(kind);
  s.kind = kind;
  if (!of_model || o.prediction_type_given)
    s.prediction_type = parse_prediction_type(o.prediction_type, "--prediction_type");
  if (!of_model || o.variance_type_given) s.variance_type = o.variance_type;
  const bool changed = o.beta_schedule_given || o.num_steps_given;
  if (!of_model || o.beta_schedule_given) s.noise.beta_schedule = o.ddpm_beta_schedule;
  if (!of_model || o.num_steps_given) s.noise.num_train_timesteps = o.ddpm_num_steps;
  if (changed) s.noise.trained_betas.reset();
  if (o.rescale_betas_zero_snr) {
    if (s.prediction_type == PredictionType::kEpsilon)
      bad_input("--rescale_betas_zero_snr: a model that predicts the noise learns nothing where there is no ",
                "signal; use --prediction_type v_prediction");
    s.noise.rescale_betas_zero_snr = true;
    s.timestep_spacing = "trailing";
  }
  if (!of_model || o.sigma_data_given) s.sigma_data = o.sigma_data;
  return s;
}

/// Output channels for a variance that is to be learned, in a model that starts from random numbers.
void add_variance_channels(TrainConfig& config, const TrainOptions& o) {
  UNetConfig& unet = config.unet;
  if (!has_betas(config.scheduler.kind) || config.scheduler.variance_type != "learned_range" ||
      unet.out_channels != unet.in_channels)
    return;
  if (!config.initial_weights.empty())
    bad_input("--variance_type learned_range: the weights of ", o.model_config_name_or_path,
              " are those of a model without a variance: its out_channels are ", unet.out_channels,
              ", expected ", 2 * unet.in_channels);
  unet.out_channels = 2 * unet.in_channels;
}

std::optional<LevelDistribution> make_levels(const TrainOptions& o, SchedulerConfig::Kind kind) {
  if (has_betas(kind)) return std::nullopt;
  const LevelDistribution levels = default_levels(kind);
  return LevelDistribution{o.level_mean.value_or(levels.mean), o.level_std.value_or(levels.std)};
}

/// A folder with a model: its weights are the start. A folder with a configuration alone, or a file: none.
void read_model(const TrainOptions& o, TrainConfig& config, std::optional<SchedulerConfig>& scheduler,
                std::vector<std::string>& warnings) {
  const fs::path path = o.model_config_name_or_path;
  if (!fs::exists(path))
    bad_input("--model_config_name_or_path ", path.string(),
              ": no such file or folder (models of the hub are not fetched: download the folder first)");
  const auto has = [&](const char* file) {
    return fs::exists(path / file) || fs::exists(path / "unet" / file);
  };
  const bool weights = has("diffusion_pytorch_model.safetensors") || has("diffusion_pytorch_model.bin") ||
                       has("diffusion_pytorch_model.safetensors.index.json");
  if (!fs::is_directory(path) || !weights) {
    config.unet = read_unet_config_anywhere(path, warnings);
    return;
  }
  const PipelineFolder pipeline = read_pipeline_folder(path);
  config.unet = pipeline.unet;
  config.initial_weights = pipeline.weights;
  scheduler = pipeline.scheduler;
  warnings.insert(warnings.end(), pipeline.warnings.begin(), pipeline.warnings.end());
}

}  // namespace

std::optional<TrainOptions> parse_train_options(int argc, const char* const* argv) {
  TrainOptions o;
  CommandLine cli("train_ddpm", kDescription);
  add_data_options(cli, o);
  add_model_options(cli, o);
  add_training_options(cli, o);
  add_machine_options(cli, o);
  add_output_options(cli, o);
  add_foreign_options(cli);
  if (!cli.parse(argc, argv)) return std::nullopt;
  o.objective_given = cli.given("--objective");
  o.sigma_data_given = cli.given("--sigma_data");
  o.prediction_type_given = cli.given("--prediction_type");
  o.variance_type_given = cli.given("--variance_type");
  o.beta_schedule_given = cli.given("--ddpm_beta_schedule");
  o.num_steps_given = cli.given("--ddpm_num_steps");
  o.snr_gamma_given = cli.given("--snr_gamma");
  o.table = cli.values();
  if (o.train_data_dir.empty()) o.train_data_dir = o.dataset_name;
  if (o.train_data_dir.empty() && !o.plan)
    bad_input("--train_data_dir: expected the folder with the images to train on");
  if (o.logger == "wandb")
    bad_input("--logger wandb: not supported: nothing is uploaded from here; use tensorboard or none");
  if (o.output_dir.empty()) bad_input("--output_dir: expected a folder");
  if (o.mixed_precision == "fp16")
    bad_input(
        "--mixed_precision fp16: not supported, its range is too small to train without loss scaling; use "
        "bf16");
  return o;
}

TrainConfig make_train_config(const TrainOptions& o, std::vector<std::string>& warnings) {
  TrainConfig c;
  std::optional<SchedulerConfig> of_model;
  if (o.model_config_name_or_path.empty())
    c.unet = UNetConfig::train_unconditional(static_cast<int>(o.resolution.value_or(64)));
  else
    read_model(o, c, of_model, warnings);
  c.scheduler = make_scheduler_config(o, of_model);
  add_variance_channels(c, o);

  c.height = c.width = o.resolution.value_or(64);
  if (!o.resolution && c.unet.sample_size)
    c.height = (*c.unet.sample_size)[0], c.width = (*c.unet.sample_size)[1];
  c.unet.check_resolution(c.height, c.width, "--resolution");
  c.unet.sample_size = std::vector<int>{static_cast<int>(c.height), static_cast<int>(c.width)};
  c.center_crop = o.center_crop;
  c.random_flip = o.random_flip;
  c.loader_workers = o.dataloader_num_workers;

  c.batch_size = o.train_batch_size;
  c.gradient_accumulation_steps = o.gradient_accumulation_steps;
  c.max_train_steps = o.max_train_steps.value_or(0);
  c.learning_rate = o.learning_rate;
  c.lr_scheduler = o.lr_scheduler;
  c.lr_warmup_steps = o.lr_warmup_steps;
  c.optimizer.beta1 = o.adam_beta1;
  c.optimizer.beta2 = o.adam_beta2;
  c.optimizer.weight_decay = o.adam_weight_decay;
  c.optimizer.epsilon = o.adam_epsilon;
  c.optimizer.max_grad_norm = o.max_grad_norm;
  if (o.use_ema) {
    EmaSchedule ema;
    ema.inv_gamma = o.ema_inv_gamma;
    ema.power = o.ema_power;
    ema.max_decay = o.ema_max_decay;
    c.optimizer.ema = ema;
  }
  // train_unconditional.py weighs the losses of a model that predicts x_0 by the signal-to-noise ratio.
  if (has_betas(c.scheduler.kind) && c.scheduler.prediction_type == PredictionType::kSample)
    c.weighting = LossWeighting::kSnr;
  if (o.snr_gamma_given) c.weighting = LossWeighting::kMinSnr;
  c.snr_gamma = o.snr_gamma;
  c.levels = make_levels(o, c.scheduler.kind);
  c.class_dropout = o.class_dropout;

  c.seed = o.seed;
  c.device = naming_option("--device", [&] { return parse_device(o.device); });
  c.compute = o.mixed_precision == "bf16" ? DType::kBFloat16 : DType::kFloat32;
  c.gradient_checkpointing = o.gradient_checkpointing;
  return c;
}

void complete_for_data(TrainConfig& config, const TrainOptions& o, const Dataset& data) {
  if (!o.max_train_steps) config.max_train_steps = steps_of_epochs(o, data);
  if (!o.class_conditional && o.class_dropout == 0) return;
  const auto classes = static_cast<int>(data.class_names().size());
  if (classes == 0)
    bad_input(o.class_conditional ? "--class_conditional" : "--class_dropout",
              ": the data has no classes: ", data.description());
  if (!config.unet.takes_class_labels()) add_class_table(config, o, classes);
  if (o.class_dropout > 0 && !config.unet.imago_null_class) choose_null_class(config.unet, classes);
}

}  // namespace imago
