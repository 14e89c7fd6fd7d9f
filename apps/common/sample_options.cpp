#include "apps/common/sample_options.h"

#include "apps/common/command_line.h"
#include "kernels/error.h"

namespace imago {

std::optional<SampleOptions> parse_sample_options(int argc, const char* const* argv) {
  SampleOptions o;
  CommandLine cli("sample_ddpm",
                  "Samples images from a trained model: a folder that train_ddpm or diffusers wrote.\n\n"
                  "  sample_ddpm --model runs/one --num_images 64 --scheduler ddim --output grid.png\n\n"
                  "Image k of seed s is the same, whatever the batch size.\n");
  cli.heading("Model");
  cli.text("--model", o.model, "A diffusers pipeline folder, or a checkpoint of train_ddpm");
  cli.flag("--raw_weights", o.raw_weights,
           "Of a checkpoint, take the weights themselves instead of their moving average");
  cli.heading("Sampling");
  cli.whole_number("--num_images", o.num_images, 1,
                   "Images to sample; default: 16, or as many as --initial_noise holds");
  cli.choice("--scheduler", o.scheduler, {"auto", "ddpm", "ddim"},
             "auto: the one that the model's folder names");
  cli.whole_number("--num_inference_steps", o.num_inference_steps, 1,
                   "Steps; default: all noise levels for ddpm, 50 for ddim");
  cli.number("--eta", o.eta, NumberRange::at_least(0), "ddim: 0 adds no noise on the way, 1 as much as ddpm");
  cli.seed("--seed", o.seed, "Of the noise");
  cli.whole_number("--class_label", o.class_label, 0,
                   "Class of all images; default: one class after the other");
  cli.whole_number("--resolution", o.resolution, 1, "Side of the images; default: the model's sample_size");
  cli.text("--initial_noise", o.initial_noise,
           "Start from tensor \"noise\" [N,C,H,W] of this safetensors file");
  cli.heading("Machine");
  cli.whole_number("--batch_size", o.batch_size, 1, "Images that go through the network together");
  cli.choice("--device", o.device, {"auto", "cpu", "cuda"}, "Where to compute");
  cli.choice("--mixed_precision", o.mixed_precision, {"no", "bf16"}, "bf16: bfloat16 inside the network");
  cli.heading("Output");
  cli.text("--output", o.output,
           "All images in one PNG; default, where no other output is named: samples.png");
  cli.whole_number("--columns", o.columns, 1, "Of that PNG; default: about as many as rows");
  cli.text("--output_dir", o.output_dir, "A folder for one PNG an image: 00000.png, 00001.png, ...");
  cli.text("--save_tensors", o.save_tensors,
           "Write tensor \"samples\" [N,C,H,W], before rounding, to this safetensors file");
  if (!cli.parse(argc, argv)) return std::nullopt;
  o.eta_given = cli.given("--eta");
  if (o.model.empty()) bad_input("--model: expected a folder with a trained model");
  if (o.output.empty() && o.output_dir.empty() && o.save_tensors.empty()) o.output = "samples.png";
  return o;
}

}  // namespace imago
