// Shapes, and non-owning references to tensors: what a kernel sees of a tensor.
#pragma once

#include <array>
#include <initializer_list>
#include <ostream>
#include <string>
#include <type_traits>

#include "kernels/dtype.h"
#include "kernels/error.h"

namespace imago {

/// Up to five extents, outermost first. Tensors are contiguous, so a shape says everything about a layout.
class Shape {
 public:
  static constexpr int kMaxRank = 5;
  Shape() = default;  // rank 0: a scalar, one element
  Shape(std::initializer_list<int64_t> extents) {
    check(extents.size() <= kMaxRank, "a shape has at most ", kMaxRank, " dimensions");
    for (int64_t e : extents) push_back(e);
  }
  void push_back(int64_t extent) {
    check(rank_ < kMaxRank && extent >= 0, "bad extent ", extent, " for dimension ", rank_);
    extents_[rank_++] = extent;
  }
  int rank() const { return rank_; }
  /// Extent of dimension i; negative i counts from the end.
  int64_t operator[](int i) const { return extents_[i < 0 ? rank_ + i : i]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= extents_[i];
    return n;
  }
  bool operator==(const Shape& other) const = default;
  std::string to_string() const { return str(*this); }
  /// "[16,32,32,3]"
  friend std::ostream& operator<<(std::ostream& out, const Shape& s) {
    out << '[';
    for (int i = 0; i < s.rank_; ++i) out << (i ? "," : "") << s.extents_[i];
    return out << ']';
  }

 private:
  std::array<int64_t, kMaxRank> extents_{};  // extents past the rank stay zero, so == compares whole shapes
  int rank_ = 0;
};

/// A contiguous tensor somewhere in a device's memory, not owned. An empty reference (no data) means
/// "absent".
template <class Void>
struct BasicTensorRef {
  Void* data = nullptr;
  DType dtype = DType::kFloat32;
  Shape shape;

  BasicTensorRef() = default;
  BasicTensorRef(Void* data, DType dtype, const Shape& shape) : data(data), dtype(dtype), shape(shape) {}
  /// A writable reference is a readable one.
  template <class Other>
  requires(std::is_const_v<Void> && !std::is_const_v<Other>) BasicTensorRef(const BasicTensorRef<Other>& r)
      : data(r.data), dtype(r.dtype), shape(r.shape) {}

  explicit operator bool() const { return data != nullptr; }
  int64_t numel() const { return shape.numel(); }
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype); }
  /// Typed pointer; the caller has dispatched on dtype.
  template <class T>
  auto as() const {
    using P = std::conditional_t<std::is_const_v<Void>, const T*, T*>;
    return static_cast<P>(data);
  }
};

using TensorRef = BasicTensorRef<void>;
using ConstTensorRef = BasicTensorRef<const void>;

}  // namespace imago
