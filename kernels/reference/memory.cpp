// Memory: the host's own. Aligned to 256 bytes, as on a GPU, so that nothing depends on luck.
#include <cstdlib>
#include <cstring>

#include "kernels/reference/reference_backend.h"

namespace imago {

void* ReferenceBackend::allocate(size_t bytes) {
  constexpr size_t kAlignment = 256;
  if (bytes > SIZE_MAX - kAlignment) return nullptr;
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return std::aligned_alloc(kAlignment, rounded ? rounded : kAlignment);
}

void ReferenceBackend::deallocate(void* p, size_t) {
  std::free(p);
}

void ReferenceBackend::upload(void* device, const void* host, size_t bytes) {
  std::memcpy(device, host, bytes);
}

void ReferenceBackend::download(void* host, const void* device, size_t bytes) {
  std::memcpy(host, device, bytes);
}

}  // namespace imago
