#include "tests/kernels/op_table/op_bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace imago::test {

namespace {

constexpr size_t kGuardBytes = 256;
constexpr uint8_t kGuard = 0xA5, kPoison = 0xFF;  // all ones is a NaN in every float type

/// f.operator()<T>() for the C++ type of a DType.
template <class F>
auto with_type(DType type, F&& f) {
  switch (type) {
    case DType::kFloat32: return f.template operator()<float>();
    case DType::kBFloat16: return f.template operator()<bf16>();
    case DType::kFloat64: return f.template operator()<double>();
    case DType::kUInt8: return f.template operator()<uint8_t>();
    case DType::kInt32: return f.template operator()<int32_t>();
    case DType::kInt64: return f.template operator()<int64_t>();
  }
  failure("no such type");
}

std::vector<uint8_t> encode(const Values& values, DType type) {
  std::vector<uint8_t> bytes(values.size() * size_of(type));
  with_type(type, [&]<class T>() {
    for (size_t i = 0; i < values.size(); ++i) {
      const T v = static_cast<T>(values[i]);
      std::memcpy(bytes.data() + i * sizeof(T), &v, sizeof(T));
    }
  });
  return bytes;
}

Values decode(const std::vector<uint8_t>& bytes, DType type) {
  Values values(bytes.size() / size_of(type));
  with_type(type, [&]<class T>() {
    for (size_t i = 0; i < values.size(); ++i) {
      T v;
      std::memcpy(&v, bytes.data() + i * sizeof(T), sizeof(T));
      values[i] = static_cast<double>(v);
    }
  });
  return values;
}

/// A generator whose start depends on every byte of the text (FNV-1a), not on the standard library.
std::mt19937_64 generator_of(const std::string& text) {
  uint64_t h = 0xcbf29ce484222325u;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001b3u;
  return std::mt19937_64(h);
}

}  // namespace

double rounded_to(DType type, double value) {
  return with_type(type, [&]<class T>() { return static_cast<double>(static_cast<T>(value)); });
}

Values direction_of(const std::string& seed, const std::string& name, int direction, int64_t count) {
  std::mt19937_64 generator = generator_of(seed + "|direction " + std::to_string(direction) + "|" + name);
  std::normal_distribution<double> normal;
  Values v(count);
  for (double& x : v) x = normal(generator);
  return v;
}

Bench::Bench(BenchConfig config) : config_(std::move(config)), workspace_(*this) {}

Bench::~Bench() {
  for (const Block& b : blocks_) backend().deallocate(b.base, b.front + b.bytes + kGuardBytes);
}

OperandType Bench::vectors() const {
  const auto vector_of = [](DType t) { return t == DType::kFloat64 ? t : DType::kFloat32; };
  return {vector_of(config_.activations), vector_of(config_.rounded_as)};
}

/// Memory on the device with these bytes, and guards on both sides.
void* Bench::place(const std::vector<uint8_t>& bytes, size_t behind_alignment) {
  const size_t front = kGuardBytes + behind_alignment;
  std::vector<uint8_t> all(front + bytes.size() + kGuardBytes, kGuard);
  std::copy(bytes.begin(), bytes.end(), all.begin() + static_cast<int64_t>(front));
  void* base = backend().allocate(all.size());
  check(base != nullptr, "no memory for ", all.size(), " bytes");
  backend().upload(base, all.data(), all.size());
  blocks_.push_back({base, front, bytes.size(), bytes});
  return static_cast<uint8_t*>(base) + front;
}

void* Bench::TestWorkspace::get(size_t bytes) {
  ++requests;
  return bench_.place(std::vector<uint8_t>(bytes, kPoison));
}

Values Bench::numbers(const std::string& name, int64_t count, OperandType type, const Draw& draw) const {
  const auto given = config_.given.find(name);
  Values values = given != config_.given.end() ? given->second : Values(count);
  check(static_cast<int64_t>(values.size()) == count, name, " has ", values.size(), " elements, not ", count);
  if (given == config_.given.end()) {
    std::mt19937_64 generator = generator_of(config_.seed + "|" + name);
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < count; ++i) {
      const double z = normal(generator);
      values[i] = draw ? draw(i, z) : z;
    }
  }
  for (double& v : values) v = rounded_to(type.rounded, v);
  if (name == config_.perturbed) {
    const Values direction = direction_of(config_.seed, name, config_.direction, count);
    for (int64_t i = 0; i < count; ++i) values[i] += config_.step * direction[i];
  }
  return values;
}

TensorRef Bench::make(const std::string& name, Role role, const Shape& shape, OperandType type,
                      const Tolerances& tolerances, const Draw& draw) {
  Operand o{name, role, type, shape, tolerances, {}, {}, {}, {}};
  std::vector<uint8_t> bytes(shape.numel() * size_of(type.stored), kPoison);
  if (role != Role::kOutput) {
    o.before = numbers(name, shape.numel(), type, draw);
    bytes = encode(o.before, type.stored);
  }
  o.ref = TensorRef(place(bytes, unaligned_ ? size_of(type.stored) : 0), type.stored, shape);
  operand_blocks_.push_back(&blocks_.back());
  operands_.push_back(std::move(o));
  return operands_.back().ref;
}

TensorRef Bench::input(const std::string& name, const Shape& shape, const Draw& draw) {
  return make(name, Role::kInput, shape, activations(), Tolerance{}, draw);
}
TensorRef Bench::input(const std::string& name, const Shape& shape, OperandType type, const Draw& draw) {
  return make(name, Role::kInput, shape, type, Tolerance{}, draw);
}
TensorRef Bench::output(const std::string& name, const Shape& shape, const Tolerances& tolerances) {
  return make(name, Role::kOutput, shape, activations(), tolerances, {});
}
TensorRef Bench::output(const std::string& name, const Shape& shape, OperandType type,
                        const Tolerances& tolerances) {
  return make(name, Role::kOutput, shape, type, tolerances, {});
}
TensorRef Bench::added_to(const std::string& name, const Shape& shape, const Tolerances& tolerances) {
  return make(name, Role::kAddedTo, shape, vectors(), tolerances, {});
}
TensorRef Bench::in_place(const std::string& name, const Shape& shape, OperandType type,
                          const Tolerances& tolerances, const Draw& draw) {
  return make(name, Role::kInPlace, shape, type, tolerances, draw);
}

RandomKey Bench::key(int64_t images, uint32_t stream) {
  const auto id = [](int64_t n, double) { return static_cast<double>(n * n * 1000003 + (n % 2 << 40) - 5); };
  return {0x123456789abcdefu, stream, input("ids", {images}, always(DType::kInt64), id)};
}

std::vector<Operand> Bench::collect(const std::string& where) {
  backend().synchronize();
  for (const Block& block : blocks_) {
    std::vector<uint8_t> all(block.front + block.bytes + kGuardBytes);
    backend().download(all.data(), block.base, all.size());
    const auto begin = all.begin() + static_cast<int64_t>(block.front), end = begin + block.bytes;
    const auto is_guard = [](uint8_t b) { return b == kGuard; };
    const bool intact = std::all_of(all.begin(), begin, is_guard) && std::all_of(end, all.end(), is_guard);

    std::string name = "the workspace";
    for (size_t i = 0; i < operands_.size(); ++i) {
      if (operand_blocks_[i] != &block) continue;
      Operand& o = operands_[i];
      name = o.name;
      o.bytes.assign(begin, end);
      o.after = decode(o.bytes, o.type.stored);
      if (o.role == Role::kInput) {
        EXPECT_TRUE(o.bytes == block.before) << where << ": input " << name << " was changed";
      }
    }
    EXPECT_TRUE(intact) << where << ": wrote outside of " << name;
  }
  EXPECT_LE(workspace_.requests, 1) << where << ": asked for scratch memory more than once";
  return operands_;
}

std::vector<Operand> run_on_bench(const std::function<void(Bench&)>& run, const BenchConfig& config,
                                  const std::string& where) {
  Bench bench(config);
  run(bench);
  return bench.collect(where);
}

}  // namespace imago::test
