// The training loss on images that the model has not seen, by the time that was drawn.
#pragma once

#include <string>
#include <vector>

#include "models/diffusion/objective.h"
#include "models/unet/unet.h"

namespace imago {

/// Of draws whose times lie side by side.
struct LossBin {
  double first, last;  // times
  double loss;         // the mean
  int64_t draws;
};

/// The mean square of the prediction's error, L_simple (Ho 2020, equation 14), with times and noise as
/// training draws them, of any objective: noise, x_0, v, velocity of flow matching, EDM. Of a model that
/// predicts a variance, too, the square alone. Unweighted: training may have weighted it.
class LossByTime {
 public:
  LossByTime(const SchedulerConfig& scheduler, uint64_t seed, DType activations);

  /// One draw for each image: images [N,H,W,C] uint8, ids [N] for time and noise, labels as UNet::forward
  /// wants them or undefined. Records no gradients.
  void add(UNet& model, const Tensor& images, const std::vector<int64_t>& ids, const Tensor& labels);

  double mean() const;
  int64_t draws() const { return static_cast<int64_t>(draws_.size()); }
  /// What times are: "timestep" t, "noise share" s of flow matching, "ln sigma" of EDM.
  std::string time_name() const;
  /// The draws in the order of their times, in `count` bins of about equally many; fewer for few draws.
  std::vector<LossBin> bins(int count) const;

 private:
  struct Draw {
    double time, loss;
  };
  SchedulerConfig scheduler_;
  Objective objective_;
  std::vector<Draw> draws_;
};

}  // namespace imago
