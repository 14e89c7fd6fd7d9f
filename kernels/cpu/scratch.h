// Cutting one piece of workspace into several: add up the sizes first, ask once, then take piece after piece.
#pragma once

#include "kernels/backend.h"

namespace imago::cpu {

class Scratch {
 public:
  /// Rounded up so that every piece starts on a 256-byte line.
  static size_t padded(size_t bytes) { return (bytes + 255) / 256 * 256; }
  template <class T>
  static size_t bytes_of(int64_t count) {
    return padded(static_cast<size_t>(count) * sizeof(T));
  }

  explicit Scratch(void* memory) : next_(static_cast<char*>(memory)) {}
  Scratch(Workspace& workspace, size_t bytes) : Scratch(bytes ? workspace.get(bytes) : nullptr) {}

  /// The next `count` elements.
  template <class T>
  T* take(int64_t count) {
    char* p = next_;
    next_ += bytes_of<T>(count);
    return reinterpret_cast<T*>(p);
  }

 private:
  char* next_;
};

}  // namespace imago::cpu
