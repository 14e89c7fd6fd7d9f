// What evaluate_ddpm does.
#pragma once

#include "apps/common/evaluate_options.h"

namespace imago {

/// Measures, prints and writes; returns the exit code. All input is looked at before the work begins. A
/// signal ends it in good order: then nothing is written.
int run_evaluation(const EvaluateOptions& options);

}  // namespace imago
