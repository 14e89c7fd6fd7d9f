// Times our CUDA kernels, and beside them NVIDIA's libraries on the same operands in the same process:
// convolutions against cuDNN, matrix products against cuBLASLt, each with the fastest of the ways that it
// proposes. GroupNorm and attention are timed alone; bench/torch_ops.py has PyTorch's. bfloat16 throughout.
//
//   bench_cuda_libraries                      # one JSON object a line, the most important first
//   bench_cuda_libraries --list               # the cases alone, needs no GPU
//
// A time is the median of several batches of calls, the two sides in turns; a batch is one graph and lasts
// some milliseconds, so that launching is no part of it. "warm": a call on the same operands again, which may
// be in the L2 cache. "cold": on other operands in turns, more than the cache holds. The results of both
// sides are compared; what differs by more than bfloat16 explains fails the program (exit code 1).
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

#include "apps/common/run_app.h"
#include "bench/cuda/cublaslt.h"
#include "bench/cuda/cudnn.h"
#include "bench/cuda/library_cases.h"
#include "bench/cuda/stopwatch.h"
#include "bench/median.h"
#include "engine/tensor/allocator.h"
#include "engine/tensor/tensor.h"

namespace imago {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string device = "cuda", only;
  int64_t batch = 128;
  double batch_ms = 4;
  int rounds = 7;
  bool list = false;
};

constexpr size_t kColdBytes = size_t{256} << 20;  // several times the largest L2
constexpr size_t kLibraryWorkspace = size_t{256} << 20;
// Both sides round the same sum once, by at most 2^-9 of it; their difference is random in sign.
constexpr double kMostDifference = 1.0 / 256;

using Operands = std::vector<Tensor>;

/// An operation with everything to call it, and for a gradient what its forward pass leaves.
struct Kernel {
  using Call = std::function<void(Backend&, const Operands&, Workspace&)>;
  std::vector<std::pair<Shape, DType>> operands;
  Call call, prepare = {};
};

/// The other side of a kernel: how to find its algorithm, and which operand is whose result.
struct Rival {
  std::string name;
  std::function<LibraryAlgorithm(const ConvPointers&)> find;
  size_t our_output, its_output;
};

ConvPointers pointers(const Operands& o) {
  return {o[0].data(), o[1].data(), o[2].data()};
}

std::vector<float> to_floats(const Tensor& x) {
  if (x.dtype() == DType::kFloat32) return to_vector<float>(x);
  const std::vector<bf16> values = to_vector<bf16>(x);
  return {values.begin(), values.end()};
}

/// |a - b| / |b|, 2-norms.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double between = 0, of_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    between += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    of_b += double{b[i]} * b[i];
  }
  return std::sqrt(between / of_b);
}

class Arena {
 public:
  explicit Arena(const Options& options)
      : options_(options), device_(parse_device(options.device)), backend_(backend_of(device_)) {
    if (device_ != Device::kCuda) return;
    open("cuDNN", cudnn_);
    open("cuBLASLt", cublaslt_);
    workspace_ = empty({static_cast<int64_t>(kLibraryWorkspace)}, DType::kUInt8, device_);
  }

  /// Times a case and prints its row.
  void run(Json row, const Kernel& kernel, const std::optional<Rival>& rival = {}) {
    const std::vector<Operands> sets = make_sets(kernel);
    const auto ours = [&](size_t set) {
      ScratchSpace scratch(device_);
      kernel.call(backend_, sets[set], scratch);
    };
    int64_t bytes = 0;
    for (const auto& [shape, type] : kernel.operands)
      bytes += shape.numel() * static_cast<int64_t>(size_of(type));
    row["bytes"] = bytes;
    std::vector<LibraryCall> library;
    if (rival) {
      row["library"] = rival->name;
      try {
        const LibraryAlgorithm algorithm = rival->find(pointers(sets[0]));
        for (const Operands& set : sets) library.push_back(algorithm(pointers(set)));
        compare(row, sets[0], ours, library[0], *rival);
      } catch (const Error& e) {
        library.clear();
        row["library_problem"] = e.what();
      }
    }
    try {
      time(row, sets.size(), ours, library);
    } catch (const Error& e) {
      if (library.empty()) throw;
      row["library_problem"] = e.what();
      time(row, sets.size(), ours, {});
    }
    std::printf("%s\n", row.dump().c_str());
    std::fflush(stdout);
  }

  std::optional<Rival> rival(ConvPass pass, const ConvCase& c) const {
    const LibraryWorkspace space{workspace_ ? workspace_.data() : nullptr, kLibraryWorkspace};
    const size_t its_output = pass == ConvPass::kForward ? 2 : pass == ConvPass::kDgrad ? 0 : 1;
    const size_t our_output = pass == ConvPass::kWgrad ? 3 : its_output;
    if (c.is_product() && cublaslt_) {
      const auto find = [=, this](const ConvPointers& p) { return cublaslt_->product(pass, c, p, space); };
      return Rival{cublaslt_->version(), find, our_output, its_output};
    }
    if (!c.is_product() && cudnn_) {
      const auto find = [=, this](const ConvPointers& p) { return cudnn_->convolution(pass, c, p, space); };
      return Rival{cudnn_->version(), find, our_output, its_output};
    }
    return {};
  }

  bool agreed() const { return agreed_; }

 private:
  template <class Library>
  void open(const char* name, std::optional<Library>& library) {
    try {
      library.emplace();
    } catch (const Error& e) {
      std::printf("%s\n", Json{{"missing", name}, {"problem", e.what()}}.dump().c_str());
    }
  }

  /// As many sets of operands as the cache cannot hold, of N(0,1) numbers.
  std::vector<Operands> make_sets(const Kernel& kernel) {
    std::vector<Operands> sets;
    for (size_t bytes = 0; sets.size() < 2 || bytes < kColdBytes;) {
      Operands& set = sets.emplace_back();
      for (const auto& [shape, type] : kernel.operands) {
        Tensor& t = set.emplace_back(empty(shape, type, device_));
        const Tensor id = from_vector(std::vector<int64_t>{++made_}, {1}, device_);
        backend_.normal({1, 0, id}, t.view({1, t.numel()}));
        bytes += static_cast<size_t>(t.numel()) * size_of(type);
      }
      ScratchSpace scratch(device_);
      if (kernel.prepare) kernel.prepare(backend_, set, scratch);
    }
    return sets;
  }

  /// Outputs are NaN before (a gradient of weights, which is added to, zero), so none can pass for the other.
  template <class Ours>
  void compare(Json& row, const Operands& set, const Ours& ours, const LibraryCall& library,
               const Rival& rival) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const Tensor &our_output = set[rival.our_output], &its_output = set[rival.its_output];
    // A gradient of the weights replaces them on the library's side, which no longer reads them.
    backend_.fill(our_output, rival.our_output == 3 ? 0 : nan);
    ours(0);
    const std::vector<float> we = to_floats(our_output);
    backend_.fill(its_output, nan);
    library();
    const double found = difference(we, to_floats(its_output));
    const bool agrees = found <= kMostDifference;  // false for NaN
    row["difference"] = found;
    row["agrees"] = agrees;
    agreed_ = agreed_ && agrees;
  }

  /// `calls` calls on so many sets in turns, ready to be started again and again: a graph where the
  /// device has them.
  template <class Call>
  std::function<void()> batch(int calls, size_t sets, const Call& call) {
    const auto enqueue = [=] {
      for (int i = 0; i < calls; ++i) call(static_cast<size_t>(i) % sets);
    };
    if (!backend_.has_graphs()) return enqueue;
    return [graph = std::shared_ptr<Graph>(backend_.record_graph(enqueue))] { graph->launch(); };
  }

  /// How many calls last as long as a batch should.
  template <class Call>
  int calls_of(size_t sets, const Call& call) {
    call(0);
    const double three = seconds_of(backend_, [&] {
      for (size_t i = 0; i < 3; ++i) call(i % sets);
    });
    return std::clamp(static_cast<int>(1e-3 * options_.batch_ms * 3 / three), 1, 1000);
  }

  template <class Ours>
  void time(Json& row, size_t sets, const Ours& ours, const std::vector<LibraryCall>& library) {
    time(row, "warm", 1, ours, library);
    time(row, "cold", sets, ours, library);
  }

  template <class Ours>
  void time(Json& row, const char* mode, size_t sets, const Ours& ours,
            const std::vector<LibraryCall>& library) {
    const auto theirs = [&](size_t set) { library[set](); };
    const int our_calls = calls_of(sets, ours), its_calls = library.empty() ? 0 : calls_of(sets, theirs);
    const auto our_batch = batch(our_calls, sets, ours);
    const auto its_batch = library.empty() ? nullptr : batch(its_calls, sets, theirs);
    std::vector<double> our_seconds, its_seconds;
    for (int round = 0; round <= options_.rounds; ++round) {  // the first does not count
      our_seconds.push_back(seconds_of(backend_, our_batch) / our_calls);
      if (its_batch) its_seconds.push_back(seconds_of(backend_, its_batch) / its_calls);
    }
    row[str("imago_", mode, "_s")] = median({our_seconds.begin() + 1, our_seconds.end()});
    if (its_batch) row[str("library_", mode, "_s")] = median({its_seconds.begin() + 1, its_seconds.end()});
  }

  Options options_;
  Device device_;
  Backend& backend_;
  std::optional<Cudnn> cudnn_;
  std::optional<CublasLt> cublaslt_;
  Tensor workspace_;  // of the libraries
  int64_t made_ = 0;
  bool agreed_ = true;
};

constexpr DType kF32 = DType::kFloat32, kBf16 = DType::kBFloat16;

Kernel convolution(ConvPass pass, const ConvCase& c) {
  const Conv2dGeometry g = c.geometry();
  Kernel kernel{{{{c.n, c.h, c.w, c.c}, kBf16},
                 {{c.k, c.filter, c.filter, c.c}, kBf16},
                 {{c.n, c.out_h(), c.out_w(), c.k}, kBf16}},
                {}};
  if (pass == ConvPass::kForward)
    kernel.call = [g](Backend& b, const Operands& o, Workspace& ws) {
      b.conv2d({o[0]}, o[1], g, {}, o[2], ws);
    };
  if (pass == ConvPass::kDgrad)
    kernel.call = [g](Backend& b, const Operands& o, Workspace& ws) {
      b.conv2d_dgrad(o[2], o[1], g, 1, {}, {o[0]}, ws);
    };
  if (pass == ConvPass::kWgrad) {
    kernel.operands.push_back({kernel.operands[1].first, kF32});  // dw, added to
    kernel.call = [g](Backend& b, const Operands& o, Workspace& ws) {
      b.conv2d_wgrad({o[0]}, o[2], g, 1, o[3], {}, ws);
    };
  }
  return kernel;
}

Kernel group_norm(const GroupNormCase& c, bool backward) {
  const GroupNormConfig config{32, 1e-5f, Activation::kSilu};
  const Shape x{c.n, c.h, c.w, c.c};
  // x, gamma, beta, y (dy), statistics; backward: dx, dgamma, dbeta
  Kernel kernel{{{x, kBf16}, {{c.c}, kF32}, {{c.c}, kF32}, {x, kBf16}, {{c.n, 32, 2}, kF32}}, {}};
  const Kernel::Call forward = [config](Backend& b, const Operands& o, Workspace& ws) {
    b.group_norm({o[0]}, o[1], o[2], {}, config, o[3], o[4], ws);
  };
  kernel.call = forward;
  if (!backward) return kernel;
  kernel.operands.insert(kernel.operands.end(), {{x, kBf16}, {{c.c}, kF32}, {{c.c}, kF32}});
  kernel.prepare = forward;
  kernel.call = [config](Backend& b, const Operands& o, Workspace& ws) {
    b.group_norm_backward(o[3], {o[0]}, o[1], o[2], {}, o[4], config, {}, {o[5]}, o[6], o[7], {}, ws);
  };
  return kernel;
}

Kernel attention(const AttentionCase& c, bool backward) {
  const Shape x{c.n, c.t, c.heads * c.head_dim};
  const int heads = static_cast<int>(c.heads);
  const float scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  // q, k, v, y, lse; backward: dy, dq, dk, dv
  Kernel kernel{{{x, kBf16}, {x, kBf16}, {x, kBf16}, {x, kBf16}, {{c.n, c.heads, c.t}, kF32}}, {}};
  const Kernel::Call forward = [=](Backend& b, const Operands& o, Workspace& ws) {
    b.attention(o[0], o[1], o[2], heads, scale, o[3], o[4], ws);
  };
  kernel.call = forward;
  if (!backward) return kernel;
  kernel.prepare = forward;
  kernel.operands.insert(kernel.operands.end(), {{x, kBf16}, {x, kBf16}, {x, kBf16}, {x, kBf16}});
  kernel.call = [=](Backend& b, const Operands& o, Workspace& ws) {
    b.attention_backward(o[5], o[0], o[1], o[2], o[3], o[4], heads, scale, o[6], o[7], o[8], ws);
  };
  return kernel;
}

/// Calls `visit` with the description of every case and a way to run it.
template <class Visit>
void for_each_case(int64_t batch, const Visit& visit) {
  for (const ConvCase& c : convolution_cases(batch)) {
    for (const ConvPass pass : {ConvPass::kForward, ConvPass::kDgrad, ConvPass::kWgrad}) {
      visit(to_json(pass, c), [=](Arena& arena, const Json& row) {
        arena.run(row, convolution(pass, c), arena.rival(pass, c));
      });
    }
  }
  for (const bool backward : {false, true}) {
    for (const GroupNormCase& c : group_norm_cases(batch)) {
      visit(to_json(backward ? "group_norm_backward" : "group_norm", c),
            [=](Arena& arena, const Json& row) { arena.run(row, group_norm(c, backward)); });
    }
    for (const AttentionCase& c : attention_cases(batch)) {
      visit(to_json(backward ? "attention_backward" : "attention", c, backward ? 5 : 2),
            [=](Arena& arena, const Json& row) { arena.run(row, attention(c, backward)); });
    }
  }
}

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app("Times our CUDA kernels beside cuDNN and cuBLASLt");
  app.add_option("--device", o.device, "cuda; or cpu, which has no opponents")->capture_default_str();
  app.add_option("--batch", o.batch, "images")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--only", o.only, "one operation: conv2d, conv2d_dgrad, group_norm, ...");
  app.add_option("--rounds", o.rounds, "batches of calls that are timed")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--batch_ms", o.batch_ms, "how long one of them lasts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--list", o.list, "print the cases alone");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::exit(app.exit(e) == 0 ? 0 : 2);
  }
  return o;
}

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  std::optional<Arena> arena;
  if (!options.list) arena.emplace(options);
  for_each_case(options.batch, [&](const Json& row, const auto& run_case) {
    if (!options.only.empty() && row["op"] != options.only) return;
    if (options.list)
      std::printf("%s\n", row.dump().c_str());
    else
      run_case(*arena, row);
  });
  return arena && !arena->agreed() ? 1 : 0;
}

}  // namespace
}  // namespace imago

int main(int argc, char** argv) {
  return imago::run_app("bench_cuda_libraries", [&] { return imago::run(argc, argv); });
}
