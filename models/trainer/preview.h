// Images sampled from a model while it trains: always from the same noise, so that one sees what training
// changes.
#pragma once

#include <functional>

#include "engine/image/image.h"

namespace imago {

class Trainer;

struct PreviewOptions {
  int images = 16;
  int inference_steps = 50;
  bool ddim = true;  // deterministic and good with few steps; false: DDPM
  int batch_size = 16;
  int columns = 0;  // of the grid; 0: about as many as rows
  /// Called after each network evaluation; may throw to stop.
  std::function<void()> keep_going;
};

/// A grid of images from trainer.result() (the EMA where there is one). Image k starts from noise number
/// k of the run's seed; a model with classes gets class k modulo their number. Training goes on afterwards as
/// if nothing had been.
Image sample_preview(Trainer& trainer, const PreviewOptions& options);

/// Columns of a grid that is about square.
int grid_columns(int images);

}  // namespace imago
