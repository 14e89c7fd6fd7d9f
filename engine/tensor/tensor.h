// Tensor: a handle to storage, shape, element type and device; and, while gradients are recorded, to the node
// that made it.
#pragma once

#include <memory>
#include <vector>

#include "engine/tensor/device.h"
#include "kernels/tensor_ref.h"

namespace imago {

struct Storage;     // a block of a device's memory, freed with its last tensor
struct TensorImpl;  // what the handle points to
struct Node;        // see engine/autograd/tape.h

/// Copying a Tensor copies the handle, not the elements. Always contiguous; images are [N,H,W,C].
class Tensor {
 public:
  Tensor() = default;  // undefined: "no tensor"

  bool defined() const { return impl_ != nullptr; }
  explicit operator bool() const { return defined(); }

  const Shape& shape() const;
  int64_t dim(int i) const { return shape()[i]; }  // negative i counts from the end
  int64_t numel() const { return shape().numel(); }
  DType dtype() const;
  Device device() const;
  void* data() const;  // on the device
  template <class T>
  T* as() const {
    return static_cast<T*>(data());
  }

  /// What kernels take. An undefined tensor gives an empty reference.
  TensorRef ref() const;
  operator TensorRef() const { return ref(); }
  operator ConstTensorRef() const { return ref(); }

  /// The same elements under another shape of equal size; not differentiable (engine/ops/elementwise.h has
  /// reshape()).
  Tensor view(const Shape& shape) const;
  /// `shape` from element `offset` on, in the same storage.
  Tensor slice(int64_t offset, const Shape& shape) const;
  /// The bytes from `byte_offset` on as elements of another type, in the same storage.
  Tensor reinterpret(int64_t byte_offset, const Shape& shape, DType dtype) const;
  /// The same elements, cut off from the tape.
  Tensor detach() const;

  // ---- Gradients ----
  /// True for leaves that want a gradient and for everything computed from them while recording.
  bool requires_grad() const;
  Tensor& set_requires_grad(bool wanted);
  /// The gradient of a leaf: where backward() adds. Undefined until then, unless it was set.
  Tensor grad() const;
  void set_grad(const Tensor& grad);

  /// True if no other handle shares this tensor's memory: then it may be written in place.
  bool unshared() const;
  std::shared_ptr<Node> node() const;
  void set_node(std::shared_ptr<Node> node);

 private:
  friend Tensor make_tensor(std::shared_ptr<Storage>, size_t, const Shape&, DType, Device);
  std::shared_ptr<TensorImpl> impl_;
};

// ---- Making tensors ----
Tensor empty(const Shape& shape, DType dtype, Device device);  // contents undefined
Tensor empty_like(const Tensor& x);
Tensor zeros(const Shape& shape, DType dtype, Device device);
/// Copies numel elements from host memory.
Tensor from_host(const void* host, const Shape& shape, DType dtype, Device device);
template <class T>
Tensor from_vector(const std::vector<T>& host, const Shape& shape, Device device) {
  check(static_cast<int64_t>(host.size()) == shape.numel(), "from_vector: ", host.size(), " elements for ",
        shape);
  return from_host(host.data(), shape, dtype_of<T>, device);
}

// ---- Leaving the device ----
void to_host(const Tensor& x, void* host);  // numel elements of x's type
/// to_host() for those who look later: enqueues the copy and returns.
std::unique_ptr<Download> download_later(const Tensor& x);
/// The elements as T, which must be x's type.
template <class T>
std::vector<T> to_vector(const Tensor& x) {
  check(x.dtype() == dtype_of<T>, "to_vector: the tensor is ", x.dtype(), ", not ", dtype_of<T>);
  std::vector<T> host(static_cast<size_t>(x.numel()));
  to_host(x, host.data());
  return host;
}

/// The elements of a tensor of any float type, and back: rounded once.
std::vector<double> to_doubles(const Tensor& x);
Tensor from_doubles(const std::vector<double>& host, const Shape& shape, DType dtype, Device device);

// ---- Overwriting elements ----
void upload(const void* host, const Tensor& x);   // from host memory
void fill(const Tensor& y, double value);         // all of y
void copy(const Tensor& from, const Tensor& to);  // equal shapes on one device; rounded where types differ

inline Backend& backend_of(const Tensor& x) {
  return backend_of(x.device());
}

}  // namespace imago
