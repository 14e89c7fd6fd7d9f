// A library that is opened when it is wanted, so that a program starts, at once, without it.
#pragma once

#include <dlfcn.h>

#include "kernels/error.h"

namespace imago {

class SharedObject {
 public:
  /// `name` as dlopen() looks for it: "libcudnn.so.9" in LD_LIBRARY_PATH and the system's folders.
  /// Throws a failure.
  explicit SharedObject(const char* name) : name_(name), object_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    if (!object_) failure(name, ": ", dlerror());
  }
  SharedObject(const SharedObject&) = delete;
  // Never closed: libraries of CUDA do not survive that.

  template <class Function>
  Function function(const char* name) const {
    void* const found = dlsym(object_, name);
    if (!found) failure(name_, " has no ", name);
    return reinterpret_cast<Function>(found);
  }

 private:
  const char* name_;
  void* object_;
};

/// A member of a class that has a SharedObject `library_`: cudnnCreate, of the type that the header declares.
#define IMAGO_FROM_LIBRARY(name) decltype(&::name) name = library_.function<decltype(&::name)>(#name)

}  // namespace imago
