// What this machine can do at most, measured: the two limits that operations are held against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace imago {

/// Multiply-adds on registers, in every thread of OpenMP's: as many independent chains as hide the latency of
/// one.
class FmaLoop {
 public:
  void run();
  double flops() const;  // of one run; a multiply-add is two
};

/// y = x over arrays that no cache holds, in every thread.
class CopyLoop {
 public:
  CopyLoop();
  void run();
  double bytes() const;  // of one run, read and written

 private:
  std::vector<float> x_, y_;
};

}  // namespace imago
