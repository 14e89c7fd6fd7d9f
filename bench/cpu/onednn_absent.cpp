#include "bench/cpu/opponent.h"

namespace imago {

MakeOpponent onednn_convolution() {
  return nullptr;
}

}  // namespace imago
