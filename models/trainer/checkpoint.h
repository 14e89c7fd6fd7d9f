// Checkpoints: everything needed to go on, in a folder named as diffusers names it.
//
//   checkpoint-500/
//     model_index.json  scheduler/  unet/   the weights as they are, a pipeline folder that diffusers opens
//     unet_ema/                             their moving average, if one is kept
//     optimizer/exp_avg.safetensors, exp_avg_sq.safetensors   Adam's moments, under the parameters' names
//     trainer_state.json                    the step, and the settings that the run hangs on
//
// Random numbers and the order of the data are functions of the seed and the step, so there is no state of
// them to keep.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace imago {

class Trainer;

/// Writes the folder completely or not at all; one of that name is replaced. Failure where it cannot be
/// written.
void write_checkpoint(const std::filesystem::path& folder, const Trainer& trainer);

struct CheckpointRead {
  int64_t step = 0;
  std::vector<std::string> warnings;
};
/// Fills the trainer's weights, EMA and moments. Bad input, in one line that names the folder, for a
/// checkpoint that is incomplete or broken, or of another model, noise schedule or prediction type. Other
/// differences between the run it comes from and trainer.config() are warnings.
CheckpointRead read_checkpoint(const std::filesystem::path& folder, Trainer& trainer);

struct CheckpointEntry {
  int64_t step;
  std::filesystem::path path;
};
/// The folders checkpoint-STEP in `output`, by step; none where there is no such folder.
std::vector<CheckpointEntry> list_checkpoints(const std::filesystem::path& output);
std::filesystem::path checkpoint_path(const std::filesystem::path& output, int64_t step);

/// Removes the oldest until `keep` are left. One that is being removed is first renamed, so that no half of
/// it is ever taken for a checkpoint.
void prune_checkpoints(const std::filesystem::path& output, int64_t keep);

}  // namespace imago
