// A training run from its first step to its last: what train_ddpm does once its options are understood.
#pragma once

namespace imago {

struct TrainOptions;

/// Trains, and returns the program's exit code: 0, or 128 + signal when it was asked to stop. What goes wrong
/// is thrown.
int run_training(const TrainOptions& options);

/// Prints what the run would cost, and does not start it.
int print_plan(const TrainOptions& options);

}  // namespace imago
