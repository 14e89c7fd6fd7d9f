#include "engine/nn/flat_parameters.h"

#include <algorithm>

#include "engine/random/streams.h"
#include "kernels/philox.h"

namespace imago {

namespace {

constexpr int64_t kAlignment = 64;  // elements: 256 bytes of float32, 128 of bfloat16

/// FNV-1a, 64 bits: a parameter's random numbers hang on its name, not on the order of construction.
int64_t hash(const std::string& name) {
  uint64_t h = 0xcbf29ce484222325u;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return static_cast<int64_t>(h);
}

template <class T>
void draw(const Init& init, uint64_t seed, int64_t id, T* out, int64_t n) {
  if (init.kind == Init::Kind::kConstant) {
    std::fill(out, out + n, static_cast<T>(init.value));
    return;
  }
  const uint32_t use = random_stream(Purpose::kInit);
  for (int64_t i = 0; i < n; i += 4) {
    const auto quad = static_cast<uint32_t>(i / 4);
    const bool normal = init.kind == Init::Kind::kNormal;
    const FloatQuad q = normal ? normal_quad(seed, use, id, quad) : uniform_quad(seed, use, id, quad);
    for (int lane = 0; lane < std::min<int64_t>(4, n - i); ++lane) {
      const double number = normal ? q[lane] : 2.0 * q[lane] - 1;
      out[i + lane] = static_cast<T>(init.value * number);
    }
  }
}

}  // namespace

FlatParameters::FlatParameters(Module& model, const Options& options) : options_(options) {
  const auto lay_out = [&](bool trainable) {
    model.for_each_parameter([&](const std::string& name, Parameter& parameter) {
      if (parameter.trainable != trainable) return;
      entries_.push_back({name, &parameter, padded_});
      count_ += parameter.shape.numel();
      padded_ += (parameter.shape.numel() + kAlignment - 1) / kAlignment * kAlignment;
    });
  };
  lay_out(true);
  trainable_ = padded_;
  lay_out(false);
  values_ = zeros({padded_}, options.master, options.device);
  compute_ = options.compute == options.master ? values_ : zeros({padded_}, options.compute, options.device);
  if (options.gradients) gradients_ = zeros({padded_}, options.master, options.device);
  point_at(values_);
}

void FlatParameters::point_at(const Tensor& flat) {
  for (const Entry& e : entries_) {
    e.parameter->value = view(flat, e);
    e.parameter->compute = view(options_.compute == options_.master ? flat : compute_, e);
    if (gradients_ && e.parameter->trainable) {
      e.parameter->value.set_requires_grad(true);
      e.parameter->value.set_grad(view(gradients_, e));
    }
  }
}

void FlatParameters::initialize(uint64_t seed) {
  const auto fill = [&]<class T>(T) {
    std::vector<T> host;
    for (const Entry& e : entries_) {
      host.resize(static_cast<size_t>(e.parameter->shape.numel()));
      draw(e.parameter->init, seed, hash(e.name), host.data(), e.parameter->shape.numel());
      upload(host.data(), view(values_, e));
    }
  };
  options_.master == DType::kFloat64 ? fill(double{}) : fill(float{});
  refresh_compute();
}

Tensor FlatParameters::view(const Tensor& flat, const Entry& entry) const {
  return flat.slice(entry.offset, entry.parameter->shape);
}

Tensor FlatParameters::make_buffer() const {
  return zeros({padded_}, DType::kFloat32, options_.device);
}

void FlatParameters::zero_gradients() {
  fill(gradients_, 0);
}

void FlatParameters::refresh_compute() {
  if (options_.compute != options_.master) copy(values_, compute_);
}

FlatParameters::Swap::Swap(FlatParameters& parameters, const Tensor& flat) : parameters_(parameters) {
  if (parameters.options_.compute != parameters.options_.master) copy(flat, parameters.compute_);
  parameters.point_at(flat);
}

FlatParameters::Swap::~Swap() {
  parameters_.refresh_compute();
  parameters_.point_at(parameters_.values_);
}

}  // namespace imago
