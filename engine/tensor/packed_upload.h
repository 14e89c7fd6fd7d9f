// Several small tensors, uploaded as one.
#pragma once

#include <vector>

#include "engine/tensor/tensor.h"

namespace imago {

/// Tensors that the host fills again and again. They lie in one block of device memory, always at the
/// same place, and one copy brings them all there: the fixed cost of a copy is paid once, and a
/// captured graph can read them.
class PackedUpload {
 public:
  using Index = size_t;

  /// Adds a tensor. All are added before the first use of the others.
  Index add(const Shape& shape, DType dtype);
  void allocate(Device device);

  /// Where the host writes tensor i, elements of its type.
  template <class T>
  T* host(Index i) {
    check(entries_[i].dtype == dtype_of<T>, "PackedUpload: tensor ", i, " is ", name_of(entries_[i].dtype));
    return reinterpret_cast<T*>(host_.data() + entries_[i].offset);
  }
  /// Enqueues the copy; the host may write again at once.
  void upload();
  /// Tensor i on the device, as of the last upload.
  Tensor tensor(Index i) const;

 private:
  struct Entry {
    Shape shape;
    DType dtype;
    size_t offset;  // bytes, a multiple of 256
  };
  std::vector<Entry> entries_;
  size_t bytes_ = 0;
  std::vector<unsigned char> host_;
  Tensor device_;  // [bytes] uint8
};

}  // namespace imago
