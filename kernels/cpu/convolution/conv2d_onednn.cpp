// oneDNN primitives for the three passes of a convolution, built once per (pass, shape, geometry, type,
// threads).
//
// Weights. oneDNN's fast kernels want them in a blocked format of their own choosing; ours are plain
// [K,R,S,C] and change at every optimizer step. They are reordered into scratch at every call: 0.02 to 0.13
// ms beside convolutions of 4 to 40 ms (Zen 2, 2 threads, batch 16), so a cache of reordered weights would
// save half a percent and would have to know when weights change. Two-source convolutions see a strided view
// of the weights' channels; the reorder absorbs it.
//
// wgrad writes oneDNN's format into scratch; the reorder back adds it to dw, with the scale.
#include "kernels/cpu/convolution/conv2d_onednn.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <dnnl.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "kernels/error.h"

namespace imago::onednn {

namespace {

using dnnl::memory;
using Dims = memory::dims;
using Tag = memory::format_tag;
using Type = memory::data_type;

dnnl::engine& engine() {
  static dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}
dnnl::stream& stream() {
  static thread_local dnnl::stream s(engine());
  return s;
}

Type type_of(DType t) {
  return t == DType::kBFloat16 ? Type::bf16 : Type::f32;
}

size_t padded(size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

/// A primitive with the layouts of its operands. Matrix products use the same three: x [M,C], w, y [M,K].
struct Entry {
  dnnl::primitive primitive;
  int x_argument = 0, w_argument = 0, y_argument = 0;
  memory::desc x = {}, w = {}, y = {}, bias = {};
  memory::desc scratchpad = {};
  bool reorders = false;         // whether the weights' own format differs from the caller's, and then:
  memory::desc plain_w = {};     // the weights as the caller has them
  dnnl::primitive reorder = {};  // plain_w -> w; for wgrad w -> plain_w
  memory::desc reorder_scratchpad = {};

  size_t w_bytes() const { return reorders ? padded(w.get_size()) : 0; }
  size_t scratch_bytes() const {
    return w_bytes() + padded(std::max(scratchpad.get_size(), reorder_scratchpad.get_size()));
  }
};

dnnl::primitive_attr attributes(bool accumulate, float scale = 1) {
  dnnl::primitive_attr a;
  a.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (scale != 1) a.set_output_scales(0, {scale});
  if (accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    a.set_post_ops(ops);
  }
  return a;
}

void set_reorder(Entry& e, const memory::desc& from, const memory::desc& to,
                 const dnnl::primitive_attr& attr) {
  const dnnl::reorder::primitive_desc pd(engine(), from, engine(), to, attr);
  e.reorder = dnnl::reorder(pd);
  e.reorders = true;
  e.reorder_scratchpad = pd.scratchpad_desc();
}

/// The gradients of y = x w^T, x [M,C], as matrix products; transposes and channel ranges are strides.
/// y itself is not one of them: oneDNN's product picks its kernel by M, so that a row's bits would depend on
/// how many images go through together. As a 1x1 convolution they do not, and it is as fast.
Entry matmul_entry(Pass pass, const Conv2d& c, float scale) {
  const Type type = type_of(c.dtype);
  const int64_t m = c.n * c.h * c.w;
  const Type x_type = pass == Pass::kDgrad ? type_of(c.result) : type;
  const memory::desc x({m, c.c}, x_type, Dims{c.c, 1}), xt({c.c, m}, type, Dims{1, c.c});
  const memory::desc y({m, c.k}, type, Dims{c.k, 1}), yt({c.k, m}, type, Dims{1, c.k});
  const Dims rows{c.weight_channels, 1};
  Entry e;
  if (pass == Pass::kWgrad) {
    const memory::desc dw({c.k, c.c}, Type::f32, rows);
    const dnnl::matmul::primitive_desc pd({yt, x, dw}, attributes(true, scale), engine());
    e = {dnnl::matmul(pd), DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SRC, x, dw, yt};
    e.scratchpad = pd.scratchpad_desc();
  } else {
    const memory::desc w({c.k, c.c}, type, rows);
    const dnnl::matmul::primitive_desc pd({y, w, x}, attributes(false), engine());
    e = {dnnl::matmul(pd), DNNL_ARG_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_SRC, x, w, y};
    e.scratchpad = pd.scratchpad_desc();
  }
  return e;
}

Entry conv_entry(Pass pass, const Conv2d& c, float scale) {
  const Type type = type_of(c.dtype);
  const Dims strides{c.stride, c.stride}, before{c.top, c.left}, after{c.bottom, c.right},
      filter{c.k, c.c, c.r, c.s};
  const memory::desc x({c.n, c.c, c.h, c.w}, type, Tag::nhwc), y({c.n, c.k, c.ho, c.wo}, type, Tag::nhwc);
  const memory::desc bias =
      pass == Pass::kForwardBias ? memory::desc({c.k}, Type::f32, Tag::x) : memory::desc();
  const memory::desc w(filter, type, Tag::any);
  const Dims plain{c.r * c.s * c.weight_channels, 1, c.s * c.weight_channels, c.weight_channels};
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const auto kind = dnnl::prop_kind::forward_training;
  Entry e;
  if (pass == Pass::kWgrad || pass == Pass::kDgrad) {
    const dnnl::convolution_forward::primitive_desc hint({kind, algorithm, x, w, y, strides, before, after},
                                                         engine());
    if (pass == Pass::kDgrad) {
      const memory::desc dx(x.dims(), type_of(c.result), Tag::nhwc);
      const dnnl::convolution_backward_data::primitive_desc pd({algorithm, dx, w, y, strides, before, after},
                                                               attributes(false), engine(), hint);
      e = {dnnl::convolution_backward_data(pd),
           DNNL_ARG_DIFF_SRC,
           DNNL_ARG_WEIGHTS,
           DNNL_ARG_DIFF_DST,
           dx,
           pd.weights_desc(),
           y};
      e.scratchpad = pd.scratchpad_desc();
    } else {
      const memory::desc dw(filter, Type::f32, Tag::any);
      const dnnl::convolution_backward_weights::primitive_desc pd(
          {algorithm, x, dw, y, strides, before, after}, attributes(false), engine(), hint);
      e = {dnnl::convolution_backward_weights(pd),
           DNNL_ARG_SRC,
           DNNL_ARG_DIFF_WEIGHTS,
           DNNL_ARG_DIFF_DST,
           x,
           pd.diff_weights_desc(),
           y};
      e.scratchpad = pd.scratchpad_desc();
      e.plain_w = memory::desc(filter, Type::f32, plain);
      set_reorder(e, e.w, e.plain_w, attributes(true, scale));
      return e;
    }
  } else {
    const auto attr = attributes(pass == Pass::kForwardAccumulate);
    const memory::desc result(y.dims(), type_of(c.result), Tag::nhwc);
    const dnnl::convolution_forward::primitive_desc pd(
        {kind, algorithm, x, w, bias, result, strides, before, after}, attr, engine());
    e = {dnnl::convolution_forward(pd),
         DNNL_ARG_SRC,
         DNNL_ARG_WEIGHTS,
         DNNL_ARG_DST,
         x,
         pd.weights_desc(),
         result,
         bias};
    e.scratchpad = pd.scratchpad_desc();
  }
  e.plain_w = memory::desc(filter, type, plain);
  if (e.w != e.plain_w) set_reorder(e, e.plain_w, e.w, attributes(false));
  return e;
}

using Key = std::array<int64_t, 20>;

Key key_of(Pass pass, const Conv2d& c, float scale) {
  return {c.n,
          c.h,
          c.w,
          c.c,
          c.k,
          c.r,
          c.s,
          c.ho,
          c.wo,
          c.stride,
          c.top,
          c.left,
          c.bottom,
          c.right,
          c.weight_channels,
          int64_t(c.dtype),
          int64_t(c.result),
          int64_t(pass),
          std::bit_cast<int32_t>(scale),
          omp_get_max_threads()};
}

/// Entries stay for the life of the process: a model has a few hundred shapes, a few kilobytes each. Null:
/// oneDNN has no such kernel.
const Entry* find(Pass pass, const Conv2d& c, float scale) {
  static std::mutex mutex;
  static std::map<Key, std::unique_ptr<Entry>> cache;
  const std::lock_guard lock(mutex);
  const auto [place, is_new] = cache.try_emplace(key_of(pass, c, scale));
  if (is_new) {
    const bool gradient = pass == Pass::kDgrad || pass == Pass::kWgrad;
    const bool product =
        gradient && c.r == 1 && c.s == 1 && c.stride == 1 && !(c.top | c.left | c.bottom | c.right);
    try {
      place->second =
          std::make_unique<Entry>(product ? matmul_entry(pass, c, scale) : conv_entry(pass, c, scale));
    } catch (const dnnl::error& e) {
      if (e.status != dnnl_unimplemented) failure("oneDNN cannot prepare a convolution: ", e.what());
    }
  }
  return place->second.get();
}

const Entry& entry(Pass pass, const Conv2d& c, float scale) {
  const Entry* e = find(pass, c, scale);
  check(e, "oneDNN has no kernel for a convolution ", c.c, " -> ", c.k, " in ", c.dtype);
  return *e;
}

}  // namespace

bool is_fast() {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  return (isa & wanted) == wanted;
}

bool can_run(Pass pass, const Conv2d& c, float scale) {
  return find(pass, c, scale) != nullptr;
}

size_t scratch_bytes(Pass pass, const Conv2d& c, float scale) {
  return entry(pass, c, scale).scratch_bytes();
}

void run(Pass pass, const Conv2d& c, const Operands& o, float scale, void* scratch) {
  const Entry& e = entry(pass, c, scale);
  char* extra = static_cast<char*>(scratch) + e.w_bytes();
  auto at = [](const memory::desc& desc, const void* p) {
    return memory(desc, engine(), const_cast<void*>(p));
  };
  const memory weights = at(e.w, e.reorders ? scratch : o.w);
  auto reorder = [&] {
    const memory plain = at(e.plain_w, o.w);
    const bool back = pass == Pass::kWgrad;
    e.reorder.execute(stream(), {{DNNL_ARG_FROM, back ? weights : plain},
                                 {DNNL_ARG_TO, back ? plain : weights},
                                 {DNNL_ARG_SCRATCHPAD, at(e.reorder_scratchpad, extra)}});
  };

  if (e.reorders && pass != Pass::kWgrad) reorder();
  std::unordered_map<int, memory> arguments{{e.x_argument, at(e.x, o.x)},
                                            {e.w_argument, weights},
                                            {e.y_argument, at(e.y, o.y)},
                                            {DNNL_ARG_SCRATCHPAD, at(e.scratchpad, extra)}};
  if (pass == Pass::kForwardBias) arguments.insert({DNNL_ARG_BIAS, at(e.bias, o.bias)});
  e.primitive.execute(stream(), arguments);
  if (e.reorders && pass == Pass::kWgrad) reorder();
  stream().wait();
}

}  // namespace imago::onednn
