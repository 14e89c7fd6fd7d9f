// What make_golden.py does not store because both sides can make it: weights and inputs, by name.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/nn/flat_parameters.h"
#include "models/layout.h"

namespace imago::golden {

inline std::filesystem::path folder() {
  return std::filesystem::path(IMAGO_SOURCE_DIR) / "tests" / "models" / "golden";
}

/// make_golden.py's uniform(): SplitMix64 started at the FNV-1a hash of the name, in [-1,1).
inline std::vector<double> uniform(const std::string& name, int64_t count) {
  uint64_t state = 0xcbf29ce484222325u;
  for (const char c : name) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  std::vector<double> u;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z = z ^ (z >> 31);
    u.push_back(static_cast<double>(z >> 40) * 0x1p-23 - 1);
  }
  return u;
}

/// make_golden.py's numbers(): a weight or an input in diffusers' layout; `shape` is its shape there.
inline std::vector<float> numbers(const std::string& name, const Shape& shape) {
  std::vector<double> u = uniform(name, shape.numel());
  const double spread = std::sqrt(3 / (static_cast<double>(shape.numel()) / static_cast<double>(shape[0])));
  for (double& v : u) {
    if (name == "time_proj.weight" && shape.rank() == 1)
      v *= 16;
    else if (name.ends_with(".bias"))
      v *= 0.25;
    else if (shape.rank() == 1)
      v = 1 + 0.25 * v;
    else if (name.ends_with(".weight"))
      v *= spread;
  }
  return {u.begin(), u.end()};
}

/// Images [N,H,W,C] from numbers() of the shape [N,C,H,W].
inline std::vector<float> images(const std::string& name, const Shape& nhwc) {
  const Shape nchw{nhwc[0], nhwc[3], nhwc[1], nhwc[2]};
  return nchw_to_nhwc(numbers(name, nchw), nchw);
}

/// A float32 host vector on a device, as `dtype` (float32 or float64).
inline Tensor on_device(const std::vector<float>& host, const Shape& shape, DType dtype, Device device) {
  if (dtype == DType::kFloat64)
    return from_vector(std::vector<double>(host.begin(), host.end()), shape, device);
  return from_vector(host, shape, device);
}

inline std::vector<double> to_doubles(const Tensor& x) {
  if (x.dtype() == DType::kFloat64) return to_vector<double>(x);
  const std::vector<float> narrow = to_vector<float>(x);
  return {narrow.begin(), narrow.end()};
}

/// The weights that make_golden.py gives a model.
inline void fill(FlatParameters& parameters) {
  for (const FlatParameters::Entry& e : parameters.entries()) {
    const Shape& s = e.parameter->shape;
    const bool conv = s.rank() == 4;
    const Shape foreign = conv ? Shape{s[0], s[3], s[1], s[2]} : s;
    std::vector<float> host = numbers(e.name, foreign);
    if (conv) host = nchw_to_nhwc(host, foreign);
    const Tensor target = parameters.view(parameters.values(), e);
    if (target.dtype() == DType::kFloat64)
      upload(std::vector<double>(host.begin(), host.end()).data(), target);
    else
      upload(host.data(), target);
  }
  parameters.refresh_compute();
}

/// |a - b| / |b|, in the Euclidean norm.
template <class A, class B>
double relative_error(const std::vector<A>& a, const std::vector<B>& b) {
  check(a.size() == b.size(), "relative_error: ", a.size(), " and ", b.size(), " numbers");
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference) / std::sqrt(norm);
}

template <class T>
double norm(const std::vector<T>& x) {
  double sum = 0;
  for (const T v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

}  // namespace imago::golden
