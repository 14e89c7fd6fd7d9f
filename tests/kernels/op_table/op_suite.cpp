// Runs the op table. See op_table.h for what is promised.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>

#include "tests/kernels/op_table/op_table.h"

namespace imago::test {

namespace {

/// "[1,0,3,2]": element i of a shape.
std::string place_of(int64_t i, const Shape& shape) {
  std::string s;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    s = std::to_string(i % shape[d]) + (s.empty() ? "" : "," + s);
    i /= shape[d];
  }
  return "[" + s + "]";
}

double rms(const Values& v, size_t first, size_t count) {
  double sum = 0;
  for (size_t i = first; i < first + count; ++i) sum += v[i] * v[i];
  return count ? std::sqrt(sum / static_cast<double>(count)) : 0;
}

/// What element i should be, and how far from it an output may lie: the measure of op_tolerance.h, with
/// `noise` times the arithmetic's absolute error.
struct Goal {
  double value, allowed;

  Goal(const Operand& got, const Values& expected, size_t i, double rms_of_all, double noise) {
    const Tolerance& t = got.tolerances.of(i);
    value = t.exact ? rounded_to(got.type.stored, expected[i]) : expected[i];
    allowed = noise * t.absolute + t.relative * std::abs(value);
    if (t.of_rms != 0) {
      const size_t row = got.shape[-1];
      allowed += t.of_rms * std::max(rms_of_all, rms(expected, i / row * row, row));
    }
    if (!t.exact) allowed += unit_roundoff(got.type.stored) * (std::abs(value) + allowed);
  }
};

/// Element by element; names the worst.
void compare(const Operand& got, const Values& expected, const std::string& where, double noise) {
  const double rms_of_all = rms(expected, 0, expected.size());
  size_t worst = 0, failures = 0;
  double worst_excess = 0;
  for (size_t i = 0; i < got.after.size(); ++i) {
    const Goal goal(got, expected, i, rms_of_all, noise);
    const double error = std::abs(got.after[i] - goal.value);
    if (error <= goal.allowed) continue;  // false for NaN
    ++failures;
    const double excess = std::isnan(error) ? std::numeric_limits<double>::infinity() : error - goal.allowed;
    if (excess > worst_excess) worst = i, worst_excess = excess;
  }
  if (failures == 0) return;
  const Goal goal(got, expected, worst, rms_of_all, noise);
  ADD_FAILURE() << where << ": " << failures << " of " << got.after.size() << " elements of " << got.name
                << " " << got.shape.to_string() << " are off. Worst at " << place_of(worst, got.shape)
                << ": got " << got.after[worst] << ", expected " << goal.value << " within " << goal.allowed;
}

void expect_same_bits(const std::vector<Operand>& a, const std::vector<Operand>& b,
                      const std::string& where) {
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(a[i].bytes == b[i].bytes) << where << ": other bits in " << a[i].name;
  }
}

NamedValues by_name(const std::vector<Operand>& operands) {
  NamedValues values;
  for (const Operand& o : operands) values[o.name] = o.after;
  return values;
}

/// The outputs of a gradient's forward operation, on inputs rounded to `type`.
NamedValues forward_outputs(const OpCase& c, DType type) {
  NamedValues outputs;
  if (!c.forward) return outputs;
  for (const Operand& o :
       run_on_bench(c.forward, {&reference_backend(), DType::kFloat64, type, c.name}, c.name)) {
    if (o.role == Role::kOutput) outputs[o.name] = o.after;
  }
  return outputs;
}

void check_case(const BackendUnderTest& entry, const OpRow& row, const OpCase& c, DType type) {
  const std::string where = row.op + "(" + c.name + ") in " + name_of(type) + " on " + entry.backend->name();
  const NamedValues given = forward_outputs(c, type);
  const BenchConfig exact{&reference_backend(), row.reference, type, c.name, given};
  const BenchConfig tested{entry.backend, type, type, c.name, given};
  const double noise = row.op.starts_with("conv2d") ? entry.convolution_noise : 1;

  const std::vector<Operand> expected = run_on_bench(c.run, exact, "reference: " + where);
  const std::vector<Operand> got = run_on_bench(c.run, tested, where);
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i].role != Role::kInput) compare(got[i], expected[i].after, where, noise);
  }

  expect_same_bits(got, run_on_bench(c.run, tested, where), where + ", called again");
  if (!entry.on_host_threads || row.library) return;
  const int threads = omp_get_max_threads();
  for (int count : {1, 2}) {
    omp_set_num_threads(count);
    expect_same_bits(got, run_on_bench(c.run, tested, where),
                     where + ", " + std::to_string(count) + " threads");
  }
  omp_set_num_threads(threads);
}

/// L = sum over forward outputs y of <dy, y>, with the dy that the gradient's case was given.
double loss(const OpCase& c, const BenchConfig& config, const NamedValues& gradient_operands) {
  double sum = 0;
  for (const Operand& o : run_on_bench(c.forward, config, c.name)) {
    const auto dy = gradient_operands.find("d" + o.name);
    if (o.role != Role::kOutput || dy == gradient_operands.end()) continue;
    for (size_t i = 0; i < o.after.size(); ++i) sum += dy->second[i] * o.after[i];
  }
  return sum;
}

/// <dx, v> against (L(x + h v) - L(x - h v)) / 2h for random v of N(0,1) numbers. Central differences leave
/// out h^2/6 L''' and, L being rounded to about 1e-16 of its terms, add 1e-16/h of them: with h = 1e-5 both
/// are near 1e-10 of a gradient whose derivatives are of its own size. Where they are larger (a norm over two
/// elements), by their square, at most some 10^3: 1e-7 of |dx|.
void check_gradients(const OpRow& row, const OpCase& c) {
  constexpr double kStep = 1e-5, kAllowed = 1e-7;
  const DType f64 = DType::kFloat64;
  const BenchConfig config{&reference_backend(), f64, f64, c.name, forward_outputs(c, f64)};
  const std::vector<Operand> operands = run_on_bench(c.run, config, row.op);
  const NamedValues values = by_name(operands);
  int compared = 0;
  for (const Operand& dx : operands) {
    if (dx.role == Role::kInput || dx.name[0] != 'd') continue;
    const std::string x = dx.name.substr(1);
    for (int direction : {0, 1}) {
      const Values v = direction_of(c.name, x, direction, dx.shape.numel());
      double analytic = 0, square = 0;
      for (size_t i = 0; i < v.size(); ++i) {
        const double g = dx.after[i] - (dx.role == Role::kAddedTo ? dx.before[i] : 0);
        analytic += g * v[i];
        square += g * g;
      }
      BenchConfig up = config, down = config;
      up.given = down.given = {};
      up.perturbed = down.perturbed = x;
      up.direction = down.direction = direction;
      up.step = kStep, down.step = -kStep;
      const double numeric = (loss(c, up, values) - loss(c, down, values)) / (2 * kStep);
      EXPECT_NEAR(analytic, numeric, kAllowed * (std::sqrt(square) + 1e-3))
          << row.op << "(" << c.name << "): " << dx.name << " against finite differences of " << x;
      ++compared;
    }
  }
  EXPECT_GT(compared, 0) << row.op << "(" << c.name << ") has no gradients";
}

struct Choice {
  BackendUnderTest entry;
  const OpRow* row;
  DType type;
  friend void PrintTo(const Choice& c, std::ostream* out) {
    *out << c.row->op << " in " << name_of(c.type) << " on " << c.entry.backend->name();
  }
};

std::vector<Choice> choices() {
  std::vector<Choice> all;
  for (const BackendUnderTest& entry : backends_under_test()) {
    for (const OpRow& row : op_table()) {
      if (!entry.ops.empty() && !entry.ops.contains(row.op)) continue;
      for (DType type : row.types) {
        if (std::count(entry.types.begin(), entry.types.end(), type)) all.push_back({entry, &row, type});
      }
    }
  }
  return all;
}

struct GradientRow {
  const OpRow* row;
  friend void PrintTo(const GradientRow& g, std::ostream* out) { *out << g.row->op; }
};

std::vector<GradientRow> gradient_rows() {
  std::vector<GradientRow> rows;
  for (const OpRow& row : op_table()) {
    const auto has_forward = [](const OpCase& c) { return static_cast<bool>(c.forward); };
    if (std::any_of(row.cases.begin(), row.cases.end(), has_forward)) rows.push_back({&row});
  }
  return rows;
}

class OpTable : public testing::TestWithParam<Choice> {};

TEST_P(OpTable, KeepsItsContract) {
  const auto& [entry, row, type] = GetParam();
  if (row->check) return row->check(entry);
  for (const OpCase& c : row->cases) {
    if (c.small || !entry.small_only) check_case(entry, *row, c, type);
  }
}

INSTANTIATE_TEST_SUITE_P(, OpTable, testing::ValuesIn(choices()), [](const auto& info) {
  return std::string(info.param.entry.backend->name()) + "_" + info.param.row->op + "_" +
         name_of(info.param.type);
});

class OpGradients : public testing::TestWithParam<GradientRow> {};

TEST_P(OpGradients, EqualFiniteDifferences) {
  for (const OpCase& c : GetParam().row->cases) {
    if (c.forward) check_gradients(*GetParam().row, c);
  }
}

INSTANTIATE_TEST_SUITE_P(, OpGradients, testing::ValuesIn(gradient_rows()),
                         [](const auto& info) { return info.param.row->op; });

/// The names of Backend's pure virtual functions, read from its header.
std::multiset<std::string> declared_operations() {
  std::ifstream file(IMAGO_SOURCE_DIR "/kernels/backend.h");
  std::string text(std::istreambuf_iterator<char>(file), {});
  text = text.substr(text.find("class Backend {"));
  text = text.substr(0, text.find("\n};"));
  std::multiset<std::string> names;
  for (size_t at = text.find("virtual "); at != std::string::npos; at = text.find("virtual ", at + 1)) {
    const size_t open = text.find('(', at);
    const size_t start = text.find_last_of(" *&", open) + 1;
    if (text[start] != '~') names.insert(text.substr(start, open - start));
  }
  return names;
}

TEST(OpTableItself, HasOneRowForEveryOperation) {
  std::multiset<std::string> rows;
  for (const OpRow& row : op_table()) rows.insert(row.op);
  EXPECT_GT(rows.size(), 30u);
  EXPECT_EQ(rows, declared_operations());
}

TEST(OpTableItself, EveryRowHasCasesForSlowBackendsToo) {
  for (const OpRow& row : op_table()) {
    if (row.check) continue;
    EXPECT_TRUE(std::any_of(row.cases.begin(), row.cases.end(), [](const OpCase& c) { return c.small; }))
        << row.op;
    std::set<std::string> names;  // a name is a case's seed
    for (const OpCase& c : row.cases) EXPECT_TRUE(names.insert(c.name).second) << row.op << ": " << c.name;
  }
}

}  // namespace

}  // namespace imago::test
