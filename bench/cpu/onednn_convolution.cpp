#include <dnnl.hpp>
#include <unordered_map>

#include "bench/cpu/opponent.h"

namespace imago {

namespace {

using dnnl::memory;
using Dims = memory::dims;
using Tag = memory::format_tag;

const dnnl::engine& engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

class OneDnnConvolution final : public Opponent {
 public:
  OneDnnConvolution(const ConvolutionCase& c, const ConvolutionOperands& o)
      : stream_(engine()), pass_(c.pass) {
    const auto type = memory::data_type::f32;
    const memory::desc x({c.x[0], c.x[3], c.x[1], c.x[2]}, type, Tag::nhwc);
    const memory::desc y({c.y[0], c.y[3], c.y[1], c.y[2]}, type, Tag::nhwc);
    const Dims filter{c.w[0], c.w[3], c.w[1], c.w[2]};
    const memory::desc any(filter, type, Tag::any);
    plain_ = memory({filter, type, Tag::ohwi}, engine(), o.w);
    choose(c, x, any, y);
    w_ = memory(w_format_, engine());
    if (pass_ != ConvolutionPass::kWgrad) reorder(plain_, w_);
    const bool backward = pass_ != ConvolutionPass::kForward;
    arguments_ = {
        {pass_ == ConvolutionPass::kDgrad ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, memory(x, engine(), o.x)},
        {pass_ == ConvolutionPass::kWgrad ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, w_},
        {backward ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST, memory(y, engine(), o.y)}};
  }
  ~OneDnnConvolution() override {
    if (pass_ == ConvolutionPass::kWgrad) reorder(w_, plain_);
  }

  void run() override {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  /// The primitive, and the format in which it wants the weights.
  void choose(const ConvolutionCase& c, const memory::desc& x, const memory::desc& w, const memory::desc& y) {
    const auto algorithm = dnnl::algorithm::convolution_auto;
    const Conv2dGeometry& g = c.geometry;
    const Dims strides{g.stride, g.stride}, before{g.top, g.left}, after{g.bottom, g.right};
    const dnnl::convolution_forward::primitive_desc forward(
        {dnnl::prop_kind::forward_training, algorithm, x, w, y, strides, before, after}, engine());
    if (pass_ == ConvolutionPass::kForward) {
      primitive_ = dnnl::convolution_forward(forward);
      w_format_ = forward.weights_desc();
    } else if (pass_ == ConvolutionPass::kDgrad) {
      const dnnl::convolution_backward_data::primitive_desc backward(
          {dnnl::algorithm::convolution_direct, x, w, y, strides, before, after}, engine(), forward);
      primitive_ = dnnl::convolution_backward_data(backward);
      w_format_ = backward.weights_desc();
    } else {
      const dnnl::convolution_backward_weights::primitive_desc backward(
          {dnnl::algorithm::convolution_direct, x, w, y, strides, before, after}, engine(), forward);
      primitive_ = dnnl::convolution_backward_weights(backward);
      w_format_ = backward.diff_weights_desc();
    }
  }

  void reorder(memory& from, memory& to) {
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  dnnl::stream stream_;
  ConvolutionPass pass_;
  dnnl::primitive primitive_;
  memory::desc w_format_;
  memory plain_, w_;
  std::unordered_map<int, memory> arguments_;
};

}  // namespace

MakeOpponent onednn_convolution() {
  return [](const ConvolutionCase& c, const ConvolutionOperands& o) -> std::unique_ptr<Opponent> {
    return std::make_unique<OneDnnConvolution>(c, o);
  };
}

}  // namespace imago
