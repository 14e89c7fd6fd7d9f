#include "models/weights.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "engine/io/safetensors.h"
#include "models/layout.h"

namespace imago {
namespace {

// A parameter's shape in files: [K,R,S,C] -> [K,C,R,S].
Shape foreign_shape(const Shape& shape) {
  return shape.rank() == 4 ? Shape{shape[0], shape[3], shape[1], shape[2]} : shape;
}

// What an attention weight was called before diffusers 0.15: "to_q." -> "query.".
std::string older_name(std::string name) {
  static const std::pair<const char*, const char*> kRenamed[] = {
      {".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}};
  for (const auto& [now, before] : kRenamed)
    if (const size_t at = name.find(now); at != name.npos) name.replace(at, std::string(now).size(), before);
  return name;
}

std::string shown(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

std::vector<int64_t> extents(const Shape& shape) {
  std::vector<int64_t> list;
  for (int i = 0; i < shape.rank(); ++i) list.push_back(shape[i]);
  return list;
}

// Which tensor of the file belongs to each parameter; everything must be there, and nothing else.
std::vector<std::string> match(const SafetensorsFile& file, const FlatParameters& parameters) {
  const std::string path = file.path().string();
  std::vector<std::string> names;
  std::unordered_set<std::string> used;
  for (const FlatParameters::Entry& e : parameters.entries()) {
    const std::string name = file.contains(e.name) ? e.name : older_name(e.name);
    if (!file.contains(name))
      bad_input(path, ": tensor ", e.name, " is missing: these weights are of another model");
    const SafetensorsFile::Entry& found = file.entry(name);
    const std::vector<int64_t> expected = extents(foreign_shape(e.parameter->shape));
    if (found.shape != expected)
      bad_input(path, ": tensor ", name, ": expected shape ", shown(expected), ", not ", shown(found.shape));
    const bool is_float =
        found.dtype == "F32" || found.dtype == "F16" || found.dtype == "BF16" || found.dtype == "F64";
    if (!is_float)
      bad_input(path, ": tensor ", name, ": expected floating-point elements, not ", found.dtype);
    names.push_back(name);
    used.insert(name);
  }
  for (const SafetensorsFile::Entry& entry : file.entries())
    if (!used.contains(entry.name))
      bad_input(path, ": tensor ", entry.name, " is unexpected: these weights are of another model");
  return names;
}

void upload_as(const std::vector<float>& host, const Tensor& x) {
  if (x.dtype() == DType::kFloat64)
    upload(std::vector<double>(host.begin(), host.end()).data(), x);
  else
    upload(host.data(), x);
}

std::vector<float> download_floats(const Tensor& x) {
  if (x.dtype() == DType::kFloat32) return to_vector<float>(x);
  const std::vector<double> wide = to_vector<double>(x);
  return {wide.begin(), wide.end()};
}

}  // namespace

void load_weights(const std::filesystem::path& path, const FlatParameters& parameters, const Tensor& flat) {
  const SafetensorsFile file(path);
  const std::vector<std::string> names = match(file, parameters);
  std::vector<std::vector<float>> tensors;  // all are read before the first is changed
  for (size_t i = 0; i < names.size(); ++i) {
    const Shape& shape = parameters.entries()[i].parameter->shape;
    tensors.push_back(file.read_as_float32(names[i]));
    if (shape.rank() == 4) tensors.back() = nchw_to_nhwc(tensors.back(), foreign_shape(shape));
  }
  for (size_t i = 0; i < names.size(); ++i)
    upload_as(tensors[i], parameters.view(flat, parameters.entries()[i]));
}

void save_weights(const std::filesystem::path& path, const FlatParameters& parameters, const Tensor& flat) {
  std::vector<NamedTensor> named;  // one in memory at a time: a large model has no room for itself twice
  for (const FlatParameters::Entry& e : parameters.entries()) {
    const Shape& shape = e.parameter->shape;
    const auto make = [&shape, view = parameters.view(flat, e)] {
      const std::vector<float> floats = download_floats(view);
      return shape.rank() == 4 ? nhwc_to_nchw(floats, shape) : floats;
    };
    named.push_back({e.name, {nullptr, DType::kFloat32, foreign_shape(shape)}, make});
  }
  std::sort(named.begin(), named.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  write_safetensors(path, named);  // metadata {"format": "pt"}, without which diffusers refuses the file
}

}  // namespace imago
