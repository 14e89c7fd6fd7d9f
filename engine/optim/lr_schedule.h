// The learning-rate schedules that diffusers names (diffusers/optimization.py), as functions of the step.
#pragma once

#include <cstdint>
#include <string>

namespace imago {

/// The learning rate of each step is the given one times a factor. With warm-up w and total n steps, and
/// p = (step - w) / (n - w), the factor is
///   linear                max(0, 1 - p)
///   cosine                (1 + cos(2 pi cycles p)) / 2, cycles 1/2
///   cosine_with_restarts  (1 + cos(pi (cycles p mod 1))) / 2, 0 from p = 1 on, cycles 1
///   polynomial            from 1 to 1e-7 / learning_rate along (1 - p)^power, power 1
///   constant              1 (no warm-up)
///   constant_with_warmup  1
/// and step / w during warm-up. Steps count optimizer updates, from 0.
class LearningRate {
 public:
  /// Throws bad input for a name that is none of the six.
  LearningRate(const std::string& schedule, double learning_rate, int64_t warmup_steps, int64_t total_steps);
  double at(int64_t step) const;

 private:
  enum class Kind {
    kLinear,
    kCosine,
    kCosineWithRestarts,
    kPolynomial,
    kConstant,
    kConstantWithWarmup
  } kind_;
  double learning_rate_;
  int64_t warmup_, total_;
};

}  // namespace imago
