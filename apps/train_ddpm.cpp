// Trains a denoising diffusion model on a folder of images; see --help.
#include "apps/common/run_app.h"
#include "apps/common/train_options.h"
#include "apps/common/train_run.h"

int main(int argc, char** argv) {
  return imago::run_app("train_ddpm", [&] {
    const auto options = imago::parse_train_options(argc, argv);
    if (!options) return imago::kExitOk;
    return options->plan ? imago::print_plan(*options) : imago::run_training(*options);
  });
}
