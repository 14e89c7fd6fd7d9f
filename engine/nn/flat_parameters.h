// All parameters of a model in one flat buffer: one optimizer launch, one all-reduce, one write to disk.
#pragma once

#include <string>
#include <vector>

#include "engine/nn/module.h"

namespace imago {

/// Lays a model's parameters out one behind the other, each starting at a multiple of 64 elements (the gaps
/// stay zero), and makes Parameter::value, its gradient and Parameter::compute views into the flat buffers.
class FlatParameters {
 public:
  struct Entry {
    std::string name;
    Parameter* parameter;
    int64_t offset;  // in elements
  };
  struct Options {
    Device device = Device::kCpu;
    DType master = DType::kFloat32;
    DType compute = DType::kFloat32;  // what convolutions and linear layers read: kBFloat16 in bf16 training
    bool gradients = true;            // off: for sampling
  };

  /// Allocates the buffers; values are undefined until initialize() or a load.
  FlatParameters(Module& model, const Options& options);

  /// Starting values: each parameter's Init, as a function of (seed, name).
  void initialize(uint64_t seed);

  const std::vector<Entry>& entries() const { return entries_; }
  int64_t count() const { return count_; }          // parameters
  int64_t padded() const { return padded_; }        // elements of each flat buffer
  int64_t trainable() const { return trainable_; }  // of them, those that training changes: the front
  const Options& options() const { return options_; }

  const Tensor& values() const { return values_; }        // [padded], the master copy
  const Tensor& gradients() const { return gradients_; }  // [padded], undefined without gradients
  const Tensor& compute() const { return compute_; }      // [padded]; the same as values if the types agree
  /// A parameter's part of any buffer of this layout (values, moments, EMA): a view of its shape.
  Tensor view(const Tensor& flat, const Entry& entry) const;
  /// A new zeroed float32 buffer of this layout.
  Tensor make_buffer() const;

  void zero_gradients();
  /// After values changed other than through the optimizer: brings `compute` up to date.
  void refresh_compute();

  /// While alive, the model reads its parameters from another buffer (the EMA). Nothing may train meanwhile.
  class Swap {
   public:
    Swap(FlatParameters& parameters, const Tensor& flat);
    Swap(const Swap&) = delete;
    ~Swap();

   private:
    FlatParameters& parameters_;
  };

 private:
  void point_at(const Tensor& flat);

  Options options_;
  std::vector<Entry> entries_;
  int64_t count_ = 0, padded_ = 0, trainable_ = 0;
  Tensor values_, gradients_, compute_;
};

}  // namespace imago
