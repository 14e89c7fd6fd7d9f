// A plan as text.
#pragma once

#include <string>

#include "models/trainer/plan.h"

namespace imago {

/// Two tables: the layers, and the whole, with units.
std::string format_plan(const TrainingPlan& plan, const TrainConfig& config);

}  // namespace imago
