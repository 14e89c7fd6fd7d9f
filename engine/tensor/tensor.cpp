#include "engine/tensor/tensor.h"

#include "engine/tensor/allocator.h"

namespace imago {

struct Storage {
  Storage(size_t bytes, Device device) : device(device), data(allocator_of(device).allocate(bytes)) {}
  Storage(const Storage&) = delete;
  ~Storage() { allocator_of(device).free(data); }
  Device device;
  void* data;
};

struct TensorImpl {
  std::shared_ptr<Storage> storage;
  size_t byte_offset;
  Shape shape;
  DType dtype;
  Device device;
  bool requires_grad = false;
  Tensor grad;                 // leaves only
  std::shared_ptr<Node> node;  // results of recorded operations only
};

Tensor make_tensor(std::shared_ptr<Storage> storage, size_t byte_offset, const Shape& shape, DType dtype,
                   Device device) {
  Tensor t;
  t.impl_ = std::make_shared<TensorImpl>(
      TensorImpl{std::move(storage), byte_offset, shape, dtype, device, false, {}, nullptr});
  return t;
}

namespace {

const TensorImpl& get(const std::shared_ptr<TensorImpl>& impl) {
  check(impl != nullptr, "an undefined tensor was used");
  return *impl;
}

}  // namespace

const Shape& Tensor::shape() const {
  return get(impl_).shape;
}
DType Tensor::dtype() const {
  return get(impl_).dtype;
}
Device Tensor::device() const {
  return get(impl_).device;
}
void* Tensor::data() const {
  return static_cast<char*>(get(impl_).storage->data) + impl_->byte_offset;
}

TensorRef Tensor::ref() const {
  if (!impl_) return {};
  return {data(), impl_->dtype, impl_->shape};
}

Tensor Tensor::view(const Shape& shape) const {
  check(shape.numel() == numel(), "view: ", this->shape(), " has not the elements of ", shape);
  return slice(0, shape);
}

Tensor Tensor::slice(int64_t offset, const Shape& shape) const {
  check(offset >= 0 && offset + shape.numel() <= numel(), "slice: ", offset, " + ", shape, " exceeds ",
        numel());
  const size_t bytes = static_cast<size_t>(offset) * size_of(dtype());
  return make_tensor(impl_->storage, impl_->byte_offset + bytes, shape, dtype(), device());
}

Tensor Tensor::reinterpret(int64_t byte_offset, const Shape& shape, DType dtype) const {
  const size_t bytes = static_cast<size_t>(shape.numel()) * size_of(dtype);
  check(byte_offset >= 0 && static_cast<size_t>(byte_offset) % size_of(dtype) == 0 &&
            static_cast<size_t>(byte_offset) + bytes <= ref().bytes(),
        "reinterpret: ", shape, " of ", dtype, " at byte ", byte_offset, " does not fit in ", ref().bytes(),
        " bytes");
  return make_tensor(impl_->storage, impl_->byte_offset + static_cast<size_t>(byte_offset), shape, dtype,
                     device());
}

Tensor Tensor::detach() const {
  return view(shape());
}

bool Tensor::requires_grad() const {
  return impl_ && (impl_->requires_grad || impl_->node);
}

Tensor& Tensor::set_requires_grad(bool wanted) {
  check(get(impl_).node == nullptr, "set_requires_grad: only leaves can be set");
  impl_->requires_grad = wanted;
  return *this;
}

Tensor Tensor::grad() const {
  return get(impl_).grad;
}

void Tensor::set_grad(const Tensor& grad) {
  check(!grad || grad.shape() == shape(), "set_grad: the gradient's shape is not the tensor's");
  get(impl_);
  impl_->grad = grad;
}

bool Tensor::unshared() const {
  return get(impl_).storage.use_count() == 1 && impl_.use_count() == 1;
}

std::shared_ptr<Node> Tensor::node() const {
  return get(impl_).node;
}
void Tensor::set_node(std::shared_ptr<Node> node) {
  get(impl_);
  impl_->node = std::move(node);
}

Tensor empty(const Shape& shape, DType dtype, Device device) {
  const size_t bytes = static_cast<size_t>(shape.numel()) * size_of(dtype);
  return make_tensor(std::make_shared<Storage>(bytes, device), 0, shape, dtype, device);
}

Tensor empty_like(const Tensor& x) {
  return empty(x.shape(), x.dtype(), x.device());
}

Tensor zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  fill(t, 0);
  return t;
}

Tensor from_host(const void* host, const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  upload(host, t);
  return t;
}

namespace {

template <class T>
std::vector<double> widened(const Tensor& x) {
  const std::vector<T> host = to_vector<T>(x);
  return {host.begin(), host.end()};
}

}  // namespace

std::vector<double> to_doubles(const Tensor& x) {
  switch (x.dtype()) {
    case DType::kFloat32: return widened<float>(x);
    case DType::kBFloat16: return widened<bf16>(x);
    case DType::kFloat64: return to_vector<double>(x);
    default: failure("to_doubles: ", x.dtype(), " is no float type");
  }
}

Tensor from_doubles(const std::vector<double>& host, const Shape& shape, DType dtype, Device device) {
  switch (dtype) {
    case DType::kFloat32: return from_vector(std::vector<float>(host.begin(), host.end()), shape, device);
    case DType::kFloat64: return from_vector(host, shape, device);
    default: failure("from_doubles: expected float32 or float64, not ", dtype);
  }
}

void upload(const void* host, const Tensor& x) {
  backend_of(x).upload(x.data(), host, x.ref().bytes());
}
void fill(const Tensor& y, double value) {
  backend_of(y).fill(y, value);
}
void copy(const Tensor& from, const Tensor& to) {
  backend_of(from).copy(from, to);
}
std::unique_ptr<Download> download_later(const Tensor& x) {
  return backend_of(x).download_later(x.data(), x.ref().bytes());
}
void to_host(const Tensor& x, void* host) {
  backend_of(x).download(host, x.data(), x.ref().bytes());
}

}  // namespace imago
