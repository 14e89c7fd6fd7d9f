#include "engine/optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/error.h"

namespace imago {

LearningRate::LearningRate(const std::string& schedule, double learning_rate, int64_t warmup_steps,
                           int64_t total_steps)
    : learning_rate_(learning_rate), warmup_(warmup_steps), total_(total_steps) {
  if (schedule == "linear")
    kind_ = Kind::kLinear;
  else if (schedule == "cosine")
    kind_ = Kind::kCosine;
  else if (schedule == "cosine_with_restarts")
    kind_ = Kind::kCosineWithRestarts;
  else if (schedule == "polynomial")
    kind_ = Kind::kPolynomial;
  else if (schedule == "constant")
    kind_ = Kind::kConstant;
  else if (schedule == "constant_with_warmup")
    kind_ = Kind::kConstantWithWarmup;
  else
    bad_input(
        "learning-rate schedule ", schedule,
        ": expected linear, cosine, cosine_with_restarts, polynomial, constant or constant_with_warmup");
}

double LearningRate::at(int64_t step) const {
  if (kind_ == Kind::kConstant) return learning_rate_;
  if (step < warmup_) return learning_rate_ * static_cast<double>(step) / static_cast<double>(warmup_);
  const double p =
      static_cast<double>(step - warmup_) / static_cast<double>(std::max<int64_t>(1, total_ - warmup_));
  constexpr double kPi = std::numbers::pi, kPolynomialEnd = 1e-7;
  switch (kind_) {
    case Kind::kLinear: return learning_rate_ * std::max(0.0, 1 - p);
    case Kind::kCosine: return learning_rate_ * std::max(0.0, (1 + std::cos(kPi * p)) / 2);
    case Kind::kCosineWithRestarts: return p >= 1 ? 0 : learning_rate_ * (1 + std::cos(kPi * p)) / 2;
    case Kind::kPolynomial:
      return p >= 1 ? kPolynomialEnd : (learning_rate_ - kPolynomialEnd) * (1 - p) + kPolynomialEnd;
    default: return learning_rate_;
  }
}

}  // namespace imago
