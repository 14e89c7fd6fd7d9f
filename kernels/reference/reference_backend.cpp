#include "kernels/reference/reference_backend.h"

namespace imago {

bool ReferenceBackend::supports(DType t) const {
  return t == DType::kFloat32 || t == DType::kBFloat16 || t == DType::kFloat64;
}

Backend& reference_backend() {
  static ReferenceBackend backend;
  return backend;
}

}  // namespace imago
