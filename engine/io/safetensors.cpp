#include "engine/io/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "engine/io/json.h"

namespace imago {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;  // bytes; the limit of the format's own reader

struct FileType {
  const char* name;
  size_t size;  // bytes
  std::optional<DType> dtype;
};

constexpr FileType kFileTypes[] = {
    {"F32", 4, DType::kFloat32}, {"BF16", 2, DType::kBFloat16}, {"F16", 2, {}},
    {"F64", 8, DType::kFloat64}, {"U8", 1, DType::kUInt8},      {"I32", 4, DType::kInt32},
    {"I64", 8, DType::kInt64}};

const FileType* find_type(const std::string& name) {
  for (const FileType& t : kFileTypes)
    if (name == t.name) return &t;
  return nullptr;
}

std::string text_of(const std::vector<int64_t>& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? "," : "") + std::to_string(shape[i]);
  return s + "]";
}

// The list under `key` as non-negative integers, or nothing.
std::optional<std::vector<int64_t>> integers(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return {};
  std::vector<int64_t> values;
  for (const json& v : *it) {
    if (!v.is_number_unsigned() || v.get<uint64_t>() > INT64_MAX) return {};
    values.push_back(v.get<int64_t>());
  }
  return values;
}

// Bytes of a tensor, or nothing if they do not fit 63 bits.
std::optional<uint64_t> bytes_of(const std::vector<int64_t>& shape, size_t element_size) {
  int64_t bytes = static_cast<int64_t>(element_size);
  for (int64_t extent : shape)
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return {};
  return static_cast<uint64_t>(bytes);
}

SafetensorsFile::Entry parse_entry(const std::string& file, const std::string& name, const json& value) {
  const auto refuse = [&](const auto&... what) { bad_input(file, ": tensor '", name, "' ", what...); };
  if (!value.is_object()) refuse("is not described by a JSON object");
  const auto dtype = value.find("dtype");
  if (dtype == value.end() || !dtype->is_string()) refuse("has no dtype");
  SafetensorsFile::Entry entry{name, dtype->get<std::string>(), {}, 0, 0};
  const FileType* type = find_type(entry.dtype);
  if (!type) refuse("has the unknown dtype ", entry.dtype, "; known are F32 BF16 F16 F64 U8 I32 I64");
  const auto shape = integers(value, "shape");
  if (!shape) refuse("has no shape that is a list of non-negative integers");
  entry.shape = *shape;
  const auto offsets = integers(value, "data_offsets");
  if (!offsets || offsets->size() != 2) refuse("has no data_offsets of two non-negative integers");
  entry.begin = static_cast<uint64_t>((*offsets)[0]);
  entry.end = static_cast<uint64_t>((*offsets)[1]);
  if (entry.begin > entry.end) refuse("ends (", entry.end, ") before it begins (", entry.begin, ")");
  const auto bytes = bytes_of(entry.shape, type->size);
  if (!bytes) refuse("has a shape that overflows: ", text_of(entry.shape));
  if (*bytes != entry.end - entry.begin)
    refuse("takes ", entry.end - entry.begin, " bytes, but ", entry.dtype, " ", text_of(entry.shape),
           " needs ", *bytes);
  return entry;
}

template <class From, class Convert>
void convert_chunk(const char* bytes, size_t n, float* out, Convert convert) {
  for (size_t i = 0; i < n; ++i) {
    From value;
    std::memcpy(&value, bytes + i * sizeof(From), sizeof(From));
    out[i] = convert(value);
  }
}

}  // namespace

float float_from_half(uint16_t bits) {  // 1 sign, 5 exponent (bias 15), 10 fraction
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 31u, fraction = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent > 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // subnormal in half, normal in float
  return sign ? -magnitude : magnitude;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path) {
  const std::string file = path_.string();
  const auto refuse = [&](int error) {
    bad_input(file, ": cannot read: ", std::system_category().message(error));
  };
  fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) refuse(errno);
  try {
    struct stat info;
    if (fstat(fd_, &info) != 0) refuse(errno);
    if (S_ISDIR(info.st_mode)) refuse(EISDIR);
    const uint64_t size = static_cast<uint64_t>(info.st_size);
    if (size < 8)
      bad_input(file, ": not a safetensors file: ", size, " bytes, shorter than the 8 of the header length");
    uint64_t length = 0;
    read_bytes({}, 0, &length, 8);
    if (length > kMaxHeader)
      bad_input(file, ": not a safetensors file: claims a header of ", length, " bytes");
    if (length > size - 8)
      bad_input(file, ": truncated: the header should have ", length, " bytes, only ", size - 8,
                " are there");
    std::string header(length, '\0');
    read_bytes({}, 8, header.data(), length);
    data_start_ = 8 + length;
    data_bytes_ = size - data_start_;
    parse_header(header);
    check_layout();
  } catch (...) {
    close(fd_);
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() {
  close(fd_);
}

void SafetensorsFile::parse_header(const std::string& header) {
  const std::string file = path_.string();
  if (!header.starts_with('{')) bad_input(file, ": not a safetensors file: the header is not a JSON object");
  const json root = parse_json(header, file + ": header", /*unique_keys=*/true);
  for (const auto& [name, value] : root.items()) {
    if (name != "__metadata__") {
      entries_.push_back(parse_entry(file, name, value));
      continue;
    }
    if (!value.is_object()) bad_input(file, ": __metadata__ is not a JSON object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) bad_input(file, ": __metadata__ \"", key, "\" is not a string");
      metadata_[key] = text.get<std::string>();
    }
  }
}

// Sorted by place, each tensor must begin where the last one ended, and the last must end with the file.
void SafetensorsFile::check_layout() {
  const std::string file = path_.string();
  std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t at = 0;
  const Entry* last = nullptr;
  for (const Entry& e : entries_) {
    if (e.end > data_bytes_)
      bad_input(file, ": truncated or lying: tensor '", e.name, "' ends at byte ", e.end,
                " of the data, which have ", data_bytes_);
    if (e.begin < at) bad_input(file, ": tensor '", e.name, "' overlaps tensor '", last->name, "'");
    if (e.begin > at)
      bad_input(file, ": ", e.begin - at, " bytes before tensor '", e.name, "' belong to no tensor");
    at = e.end;
    last = &e;
  }
  if (at != data_bytes_) bad_input(file, ": ", data_bytes_ - at, " bytes at the end belong to no tensor");
  for (size_t i = 0; i < entries_.size(); ++i) index_[entries_[i].name] = i;
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
  const auto it = index_.find(name);
  if (it == index_.end()) bad_input(path_.string(), ": has no tensor '", name, "'");
  return entries_[it->second];
}

void SafetensorsFile::read_bytes(const Entry& entry, uint64_t offset, void* out, size_t bytes) const {
  char* at = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t n = pread(fd_, at, std::min<size_t>(bytes, 1 << 30), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) bad_input(path_.string(), ": cannot read: ", std::system_category().message(errno));
    if (n == 0) bad_input(path_.string(), ": became shorter while it was read, at tensor '", entry.name, "'");
    at += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
}

void SafetensorsFile::read(const std::string& name, TensorRef out) const {
  const Entry& e = entry(name);
  bool same = find_type(e.dtype)->dtype == out.dtype && static_cast<int>(e.shape.size()) == out.shape.rank();
  for (int i = 0; same && i < out.shape.rank(); ++i) same = e.shape[i] == out.shape[i];
  if (!same)
    bad_input(path_.string(), ": tensor '", name, "' is ", e.dtype, " ", text_of(e.shape), ", expected ",
              name_of(out.dtype), " ", out.shape.to_string());
  read_bytes(e, data_start_ + e.begin, out.data, e.end - e.begin);
}

std::vector<float> SafetensorsFile::read_as_float32(const std::string& name) const {
  const Entry& e = entry(name);
  std::vector<float> values((e.end - e.begin) / find_type(e.dtype)->size);
  read_as_float32(name, values);
  return values;
}

void SafetensorsFile::read_as_float32(const std::string& name, std::span<float> out) const {
  const Entry& e = entry(name);
  const size_t size = find_type(e.dtype)->size, count = (e.end - e.begin) / size;
  if (out.size() != count)
    bad_input(path_.string(), ": tensor '", name, "' is ", text_of(e.shape), ", expected ", out.size(),
              " elements");
  if (e.dtype == "F32") return read_bytes(e, data_start_ + e.begin, out.data(), count * size);
  constexpr size_t kChunk = 65536;  // elements
  std::vector<char> bytes(std::min(count, kChunk) * size);
  for (size_t done = 0; done < count; done += kChunk) {
    const size_t n = std::min(kChunk, count - done);
    read_bytes(e, data_start_ + e.begin + done * size, bytes.data(), n * size);
    float* to = out.data() + done;
    if (e.dtype == "F16") {
      convert_chunk<uint16_t>(bytes.data(), n, to, float_from_half);
    } else if (e.dtype == "BF16") {
      convert_chunk<bf16>(bytes.data(), n, to, [](bf16 v) { return static_cast<float>(v); });
    } else if (e.dtype == "F64") {
      convert_chunk<double>(bytes.data(), n, to, [](double v) { return static_cast<float>(v); });
    } else {
      bad_input(path_.string(), ": tensor '", name, "' is ", e.dtype, ", expected a floating-point type");
    }
  }
}

}  // namespace imago
