#include "engine/tensor/packed_upload.h"

namespace imago {

PackedUpload::Index PackedUpload::add(const Shape& shape, DType dtype) {
  check(host_.empty(), "PackedUpload: add() after allocate()");
  constexpr size_t kAlignment = 256;
  entries_.push_back({shape, dtype, bytes_});
  const size_t bytes = static_cast<size_t>(shape.numel()) * size_of(dtype);
  bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return entries_.size() - 1;
}

void PackedUpload::allocate(Device device, size_t host_blocks) {
  host_.resize(bytes_ * host_blocks);
  device_ = empty({static_cast<int64_t>(bytes_)}, DType::kUInt8, device);
}

void PackedUpload::upload(size_t block) {
  check(bytes_ * (block + 1) <= host_.size(), "PackedUpload: no host block ", block);
  imago::upload(host_.data() + block * bytes_, device_);
}

Tensor PackedUpload::tensor(Index i) const {
  const Entry& e = entries_[i];
  return device_.reinterpret(static_cast<int64_t>(e.offset), e.shape, e.dtype);
}

}  // namespace imago
