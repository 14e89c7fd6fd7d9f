// What a build without a CUDA compiler has to offer: no device.
#include "kernels/backend.h"

namespace imago {

Backend* cuda_backend() {
  return nullptr;
}

}  // namespace imago
