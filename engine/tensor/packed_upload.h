// Several small tensors, uploaded as one.
#pragma once

#include <span>
#include <vector>

#include "engine/tensor/tensor.h"

namespace imago {

/// Tensors that the host fills again and again. They lie in one block of device memory, always at the same
/// place, and one copy brings them all there: the fixed cost of a copy is paid once, and a captured graph can
/// read them. The host may have several blocks to fill: it writes into some while another is copied.
class PackedUpload {
 public:
  using Index = size_t;

  /// Adds a tensor. All are added before the first use of the others.
  Index add(const Shape& shape, DType dtype);
  void allocate(Device device, size_t host_blocks = 1);

  /// Where the host writes tensor i in one of its blocks: all elements, of the tensor's type.
  template <class T>
  std::span<T> host(Index i, size_t block = 0) {
    const Entry& e = entries_[i];
    check(e.dtype == dtype_of<T>, "PackedUpload: tensor ", i, " is ", name_of(e.dtype));
    check(bytes_ * (block + 1) <= host_.size(), "PackedUpload: no host block ", block);
    return {reinterpret_cast<T*>(host_.data() + block * bytes_ + e.offset),
            static_cast<size_t>(e.shape.numel())};
  }
  /// Enqueues the copy of a block; the host may write into it again at once.
  void upload(size_t block = 0);
  /// Tensor i on the device, as of the last upload.
  Tensor tensor(Index i) const;

 private:
  struct Entry {
    Shape shape;
    DType dtype;
    size_t offset;  // bytes, a multiple of 256
  };
  std::vector<Entry> entries_;
  size_t bytes_ = 0;                 // of a block
  std::vector<unsigned char> host_;  // block after block
  Tensor device_;                    // [bytes] uint8
};

}  // namespace imago
