// What a step would cost, without taking it: a backend that computes nothing and counts.
//
// A model run on plan_backend() goes through the same layers and calls the same operations as on a real
// device, so its counts are those of the real run. Its memory is addresses without anything behind them:
// models far larger than the machine can be planned. A download gives zeros. Not for several threads at once.
//
// How it counts:
//   * a multiplication, addition, division, comparison or elementary function is one FLOP, so a multiply-add
//     is two; a convolution is 2 N Ho Wo K R S C as if it were on no border, as the field counts;
//   * attention is its matrix products: 2 forward, 5 backward (P is made again), 2 N heads T T D each;
//   * bytes are those of every operand once, twice where it is read and written: the traffic of a kernel that
//     keeps on the chip what it needs again.
#pragma once

#include <map>
#include <string>

#include "kernels/backend.h"

namespace imago {

struct PlanCount {
  int64_t flops = 0;
  int64_t bytes = 0;     // read and written
  int64_t launches = 0;  // calls of operations
};

struct PlanCounts {
  PlanCount total;
  std::map<std::string, PlanCount> by_operation;  // by its name in backend.h; only those called
};

/// What was counted since the start or the last reset.
const PlanCounts& plan_counts();
void reset_plan_counts();

}  // namespace imago
