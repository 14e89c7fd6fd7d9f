// The op contract as one table. Every operation of kernels/backend.h has one row: the cases to try, how to
// call it, and how far a result may lie from the reference in float64. The suite (op_suite.cpp) runs the
// table for every backend that a test program lists:
//   * outputs against the reference in float64 on the same (rounded) inputs, elementwise;
//   * the reference's gradients against central finite differences in float64;
//   * nothing written outside the outputs, inputs untouched, scratch memory asked for at most once;
//   * the same bits when called twice, and on 1 and 2 threads.
// An operation without a row fails the suite.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/op_table/op_bench.h"

namespace imago::test {

/// A backend to test. A test program defines backends_under_test() in one small file.
struct BackendUnderTest {
  Backend* backend;
  std::vector<DType> types = {DType::kFloat32, DType::kBFloat16};
  bool small_only = false;         // run only the cases marked small: an emulated GPU is slow
  bool on_host_threads = true;     // runs on OpenMP threads: bits are compared on 1 and 2
  bool emulated = false;           // a GPU whose memory is the host's
  std::set<std::string> ops = {};  // only these rows; empty: all
  double convolution_noise = 1;  // how many times the rounding errors of sums in order convolutions may have
};
std::vector<BackendUnderTest> backends_under_test();

/// One call of an operation: shapes and options, given by what its function does with a Bench.
struct OpCase {
  std::string name;                          // "2x8x8x32, 3x3, K 48, bias"
  std::function<void(Bench&)> run;           // makes the operands and the call
  bool small = false;                        // at most some 10^5 multiply-adds
  std::function<void(Bench&)> forward = {};  // of a gradient: the operation that it differentiates
};

/// One operation. A gradient's cases name the gradient of "x" by "x" as "dx" in `run` and have the
/// differentiated operation, with inputs of the same names, in `forward`: both then see the same numbers, and
/// what forward writes ("lse", "statistics") is there as an input of that name for `run`.
struct OpRow {
  std::string op;  // its name in kernels/backend.h
  std::vector<OpCase> cases = {};
  std::vector<DType> types = {DType::kFloat32, DType::kBFloat16};  // of activations
  DType reference = DType::kFloat64;                               // the type in which the reference answers
  bool library = false;  // may go through oneDNN, whose bits depend on the number of threads
  std::function<void(const BackendUnderTest&)> check = {};  // memory operations: a test of their own
};

/// Which sources of so_far a gradient is given. `all` lists the ways that there are of giving any.
struct SoFar {
  bool a = false, b = false;
  bool aligned = true;

  static std::vector<SoFar> all(bool two_sources) {
    if (two_sources) return {{true, false}, {false, true}, {true, true}, {true, true, false}};
    return {{true, false}};
  }
  std::string name() const {
    return std::string(" onto ") +
           (a && b ? "both"
            : a    ? "the first"
                   : "the second") +
           (aligned ? "" : ", unaligned");
  }
  /// Inputs of these shapes. Made last, so that only they are unaligned.
  Concat inputs(Bench& bench, const Shape& first, const Shape& second) const {
    if (!aligned) bench.begin_unaligned();
    return {a ? bench.input("so_far_a", first) : TensorRef(),
            b ? bench.input("so_far_b", second) : TensorRef()};
  }
};

// By family; each in its file in rows/.
std::vector<OpRow> memory_rows();
std::vector<OpRow> convolution_rows();
std::vector<OpRow> attention_rows();
std::vector<OpRow> norm_rows();
std::vector<OpRow> pointwise_rows();
std::vector<OpRow> pooling_rows();
std::vector<OpRow> loss_rows();
std::vector<OpRow> diffusion_rows();
std::vector<OpRow> optimizer_rows();

/// All of them.
const std::vector<OpRow>& op_table();

}  // namespace imago::test
