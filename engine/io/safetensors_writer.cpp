#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/io/atomic_file.h"
#include "engine/io/safetensors.h"

namespace imago {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");

namespace {

const char* file_name_of(DType t) {
  switch (t) {
    case DType::kFloat32: return "F32";
    case DType::kBFloat16: return "BF16";
    case DType::kFloat64: return "F64";
    case DType::kUInt8: return "U8";
    case DType::kInt32: return "I32";
    case DType::kInt64: return "I64";
  }
  failure("no safetensors name for element type ", static_cast<int>(t));
}

// The header's text, padded so that the data begin at a multiple of 8.
std::string header_of(std::span<const NamedTensor* const> tensors, const SafetensorsMetadata& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const NamedTensor* t : tensors) {
    nlohmann::ordered_json shape = nlohmann::ordered_json::array();
    for (int i = 0; i < t->tensor.shape.rank(); ++i) shape.push_back(t->tensor.shape[i]);
    const uint64_t end = offset + t->tensor.bytes();
    header[t->name] = {
        {"dtype", file_name_of(t->tensor.dtype)}, {"shape", shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.is_null() ? "{}" : header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const SafetensorsMetadata& metadata) {
  std::set<std::string> names;
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& t : tensors) {
    check(t.name != "__metadata__" && names.insert(t.name).second, path.string(), ": tensor name '", t.name,
          "' is reserved or given twice");
    check(t.tensor.data != nullptr || t.tensor.bytes() == 0 || t.make, path.string(), ": tensor '", t.name,
          "' has no data");
    order.push_back(&t);
  }
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return size_of(a->tensor.dtype) > size_of(b->tensor.dtype);
  });

  const std::string header = header_of(order, metadata);
  const uint64_t length = header.size();
  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(header);
  for (const NamedTensor* t : order) {
    const std::vector<float> made = t->make ? t->make() : std::vector<float>();
    check(!t->make || made.size() * sizeof(float) == t->tensor.bytes(), path.string(), ": tensor '", t->name,
          "' is made of ", made.size(), " numbers");
    file.write(t->make ? made.data() : t->tensor.data, t->tensor.bytes());
  }
  file.commit();
}

}  // namespace imago
