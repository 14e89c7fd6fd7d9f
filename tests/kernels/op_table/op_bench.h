// The bench on which a table row puts its operands: makes tensors on a backend, and looks at them afterwards.
//
// The same row function is run twice: on the backend under test in the type under test, and on the reference
// in float64 with inputs that were rounded to the type under test. An operand's numbers depend on the case
// and on the operand's name only, so both calls see the same ones.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/op_table/op_tolerance.h"

namespace imago::test {

using Values = std::vector<double>;
using NamedValues = std::map<std::string, Values>;

/// Element i of an input, given z ~ N(0,1).
using Draw = std::function<double(int64_t i, double z)>;

struct BenchConfig {
  Backend* backend;
  DType activations;           // the "x" type of the call
  DType rounded_as;            // the type to which inputs are rounded before
  std::string seed;            // the case's name
  NamedValues given = {};      // inputs that another operation has computed
  std::string perturbed = {};  // for finite differences: this input ...
  double step = 0;             // ... is moved by step * direction(name)
  int direction = 0;
};

/// Type of an operand: how it is stored, and to what its numbers were rounded.
struct OperandType {
  DType stored, rounded;
};

enum class Role { kInput, kOutput, kAddedTo, kInPlace };

/// An operand after the call.
struct Operand {
  std::string name;
  Role role;
  OperandType type;
  Shape shape;
  Tolerances tolerances;
  Values before, after;        // all elements, as double
  std::vector<uint8_t> bytes;  // after
  TensorRef ref;               // on the device
};

class Bench {
 public:
  explicit Bench(BenchConfig config);
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  Backend& backend() const { return *config_.backend; }
  Workspace& workspace() { return workspace_; }

  OperandType activations() const { return {config_.activations, config_.rounded_as}; }
  OperandType vectors() const;  // float32, or float64 beside float64
  static OperandType always(DType t) { return {t, t}; }
  bool is_bf16() const { return config_.rounded_as == DType::kBFloat16; }  // the type under test

  /// Operands made from now on begin one element behind an aligned address, as views into a tensor may.
  void begin_unaligned() { unaligned_ = true; }

  /// An input of N(0,1) numbers, or of what `draw` makes of them.
  TensorRef input(const std::string& name, const Shape& shape, const Draw& draw = {});
  TensorRef input(const std::string& name, const Shape& shape, OperandType type, const Draw& draw = {});
  /// An output, NaN before the call.
  TensorRef output(const std::string& name, const Shape& shape, const Tolerances& tolerances = Tolerance{});
  TensorRef output(const std::string& name, const Shape& shape, OperandType type,
                   const Tolerances& tolerances = Tolerance{});
  /// A parameter's gradient: N(0,1) before the call, which adds to it.
  TensorRef added_to(const std::string& name, const Shape& shape, const Tolerances& tolerances);
  /// Read and overwritten.
  TensorRef in_place(const std::string& name, const Shape& shape, OperandType type,
                     const Tolerances& tolerances, const Draw& draw = {});
  /// Random numbers' key with ids that are neither consecutive nor small.
  RandomKey key(int64_t images, uint32_t stream = 7);

  /// Downloads everything. Reports bytes written outside of outputs as test failures that begin with `where`.
  std::vector<Operand> collect(const std::string& where);

 private:
  /// Device memory with guard bytes around it.
  struct Block {
    void* base;
    size_t front, bytes;  // guard bytes before; bytes between the guards
    std::vector<uint8_t> before;
  };
  class TestWorkspace : public Workspace {
   public:
    explicit TestWorkspace(Bench& bench) : bench_(bench) {}
    void* get(size_t bytes) override;
    int requests = 0;

   private:
    Bench& bench_;
  };

  TensorRef make(const std::string& name, Role role, const Shape& shape, OperandType type,
                 const Tolerances& tolerances, const Draw& draw);
  Values numbers(const std::string& name, int64_t count, OperandType type, const Draw& draw) const;
  void* place(const std::vector<uint8_t>& bytes, size_t behind_alignment = 0);

  BenchConfig config_;
  TestWorkspace workspace_;
  bool unaligned_ = false;
  std::vector<Operand> operands_;
  std::list<Block> blocks_;  // the operands' in their order, workspaces in between
  std::vector<const Block*> operand_blocks_;
};

/// Makes the bench, runs the function on it, collects.
std::vector<Operand> run_on_bench(const std::function<void(Bench&)>& run, const BenchConfig& config,
                                  const std::string& where);

/// Rounds to a type and back.
double rounded_to(DType type, double value);

/// The direction in which an input is moved for finite differences: N(0,1) numbers.
Values direction_of(const std::string& seed, const std::string& name, int direction, int64_t count);

}  // namespace imago::test
