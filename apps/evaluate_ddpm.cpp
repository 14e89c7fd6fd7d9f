// Measures a trained model, or images; see --help.
#include "apps/common/evaluate_options.h"
#include "apps/common/evaluation_run.h"
#include "apps/common/run_app.h"

int main(int argc, char** argv) {
  return imago::run_app("evaluate_ddpm", [&] {
    const auto options = imago::parse_evaluate_options(argc, argv);
    return options ? imago::run_evaluation(*options) : imago::kExitOk;
  });
}
