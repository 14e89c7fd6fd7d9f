#include "bench/cpu/opponent.h"

namespace imago {

MakeOpponent openblas_convolution() {
  return nullptr;
}

}  // namespace imago
