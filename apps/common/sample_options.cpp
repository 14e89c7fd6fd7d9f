#include "apps/common/sample_options.h"

#include "apps/common/command_line.h"
#include "kernels/error.h"

namespace imago {

namespace {

/// What goes together among the images to begin with.
void check_images(const CommandLine& cli, const SampleOptions& o) {
  const auto need = [&](const char* option, const char* other) {
    if (cli.given(option) && !cli.given(other)) bad_input(option, ": needs ", other);
  };
  const auto exclude = [&](const char* option, const char* other) {
    if (cli.given(option) && cli.given(other)) bad_input(option, ": does not go with ", other);
  };
  for (const char* option : {"--strength", "--start_timestep", "--mask"}) need(option, "--init_image");
  need("--resample", "--mask");
  need("--guidance_interval", "--guidance_scale");
  need("--invert", "--save_tensors");
  exclude("--strength", "--start_timestep");
  for (const char* option : {"--strength", "--start_timestep"}) exclude(option, "--mask");
  exclude("--initial_noise", "--interpolate");
  for (const char* option : {"--init_image", "--initial_noise", "--interpolate", "--output", "--output_dir",
                             "--trajectory", "--animation"})
    exclude(option, "--invert");
  if (o.guidance_interval && o.guidance_interval->first >= o.guidance_interval->second)
    bad_input("--guidance_interval: expected the lower level first");
}

}  // namespace

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
  cli.seed("--seed", o.seed, "Of the noise");
  cli.whole_number("--class_label", o.class_label, 0,
                   "Class of all images; default: one class after the other");
  cli.whole_number("--resolution", o.resolution, 1, "Side of the images; default: the model's sample_size");
  cli.text("--initial_noise", o.initial_noise,
           "Start from tensor \"noise\" [N,C,H,W] of this safetensors file");
  cli.number("--guidance_scale", o.guidance_scale, NumberRange::at_least(0),
             "1: none; more: further towards the class, for models that were trained with class dropout");
  cli.numbers("--guidance_interval", o.guidance_interval, NumberRange::at_least(0),
              "Guide only at noise levels sigma with LO < sigma <= HI");
  o.sampler.declare(cli);
  cli.heading("Images to begin with");
  cli.text("--init_image", o.init_image, "Begin with this image and noise, not with noise alone");
  cli.number("--strength", o.strength, NumberRange{0, 1, true, false},
             "Share of the steps that --init_image goes through: how much of it is forgotten");
  cli.whole_number("--start_timestep", o.start_timestep, 0, "Instead: the time t at which it begins");
  cli.text("--mask", o.mask, "Keep --init_image where this image is white, paint it anew where it is black");
  cli.whole_number("--resample", o.resample, 1, "--mask: take each step so often, going back in between");
  cli.seeds("--interpolate", o.interpolate,
            "Images on the way from the noise of one seed to that of another");
  cli.text("--invert", o.invert,
           "Write the noise from which ddim makes this image, as tensor \"noise\", to --save_tensors");
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
  cli.text("--trajectory", o.trajectory, "A film strip: a row an image, from noise to the end, in one PNG");
  cli.text("--animation", o.animation, "The same as an animated PNG");
  if (!cli.parse(argc, argv)) return std::nullopt;
  o.sampler.take(cli);
  o.strength_given = cli.given("--strength");
  check_images(cli, o);
  if (o.model.empty()) bad_input("--model: expected a folder with a trained model");
  if (o.output.empty() && o.output_dir.empty() && o.save_tensors.empty() && o.trajectory.empty() &&
      o.animation.empty())
    o.output = "samples.png";
  return o;
}

}  // namespace imago
