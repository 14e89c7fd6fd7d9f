#include "models/inception/batch_norm_conv.h"

#include <cmath>

#include "engine/ops/elementwise.h"

namespace imago {

namespace {

constexpr double kEpsilon = 1e-3;

/// A tensor of the file, of exactly this shape.
std::vector<float> read(const SafetensorsFile& file, const std::string& name, const Shape& shape) {
  if (!file.contains(name))
    bad_input(file.path().string(), ": tensor ", name,
              " is missing: expected Inception-v3 as pytorch-fid names it");
  const std::vector<int64_t>& found = file.entry(name).shape;
  bool equal = static_cast<int>(found.size()) == shape.rank();
  for (int i = 0; equal && i < shape.rank(); ++i) equal = found[static_cast<size_t>(i)] == shape[i];
  if (!equal) bad_input(file.path().string(), ": tensor ", name, ": expected the shape ", shape);
  return file.read_as_float32(name);
}

Parameter frozen(const std::vector<float>& values, const Shape& shape, Device device) {
  Parameter p(shape, Init{}, /*trainable=*/false);
  p.value = p.compute = from_vector(values, shape, device);
  return p;
}

/// The filters of the channels [begin, end), times a factor for each output: [K,C,R,S] -> [K,R,S,end-begin].
std::vector<float> filters_of(const std::vector<float>& w, const Shape& shape,
                              const std::vector<double>& factors, int64_t begin, int64_t end) {
  const int64_t channels = shape[1], taps = shape[2] * shape[3];
  std::vector<float> filters;
  for (int64_t k = 0; k < shape[0]; ++k)
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t c = begin; c < end; ++c)
        filters.push_back(static_cast<float>(factors[static_cast<size_t>(k)] *
                                             w[static_cast<size_t>((k * channels + c) * taps + t)]));
  return filters;
}

}  // namespace

BatchNormConv::BatchNormConv(const SafetensorsFile& file, const std::string& name, const Shape& shape,
                             const std::vector<int64_t>& widths, const Conv2dGeometry& geometry,
                             Device device)
    : geometry_(geometry) {
  const Shape vector{shape[0]};
  const std::vector<float> w = read(file, name + ".conv.weight", shape);  // [K,C,R,S]
  const std::vector<float> gamma = read(file, name + ".bn.weight", vector),
                           beta = read(file, name + ".bn.bias", vector),
                           mean = read(file, name + ".bn.running_mean", vector),
                           var = read(file, name + ".bn.running_var", vector);  // [K] each
  std::vector<double> factors;
  std::vector<float> bias;
  for (size_t k = 0; k < gamma.size(); ++k) {
    if (!(var[k] >= 0))
      bad_input(file.path().string(), ": tensor ", name, ".bn.running_var: ", var[k], " is no variance");
    factors.push_back(gamma[k] / std::sqrt(var[k] + kEpsilon));
    bias.push_back(static_cast<float>(beta[k] - mean[k] * factors[k]));
  }
  bias_ = frozen(bias, vector, device);
  int64_t begin = 0;
  for (size_t i = 0; i < widths.size(); i += 2) {
    const int64_t end = begin + widths[i] + (i + 1 < widths.size() ? widths[i + 1] : 0);
    filters_.push_back(frozen(filters_of(w, shape, factors, begin, end),
                              {shape[0], shape[2], shape[3], end - begin}, device));
    begin = end;
  }
}

Tensor BatchNormConv::forward(const Branches& x) const {
  Tensor y;  // [N,Ho,Wo,K]
  for (size_t i = 0; i < filters_.size(); ++i) {
    const Tensor second = 2 * i + 1 < x.size() ? x[2 * i + 1] : Tensor();
    y = conv2d(x[2 * i], second, filters_[i], i == 0 ? &bias_ : nullptr,
               {.geometry = geometry_, .per_image_bias = {}, .residual = y});
  }
  return relu(y);
}

}  // namespace imago
