// Winograd's convolutions: their error over long sums, and what their bits do not depend on. (That they keep
// the contract on every kind of shape is the op table's to say, which runs on a backend that uses nothing
// else.)
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/cpu_backend.h"

namespace imago {
namespace {

class HeapWorkspace : public Workspace {
 public:
  void* get(size_t bytes) override {
    memory_.assign(bytes / sizeof(float) + 64, std::nanf(""));  // what was left here must not matter
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return reinterpret_cast<void*>((address + 255) / 256 * 256);
  }

 private:
  std::vector<float> memory_;
};

/// N(0,1) numbers in float32 and, the same ones, in float64.
template <class T>
struct Images {
  Shape shape;
  std::vector<T> elements;

  explicit Images(const Shape& s) : shape(s), elements(static_cast<size_t>(s.numel())) {}
  Images(const Shape& s, uint32_t stream) : Images(s) {
    std::vector<float> numbers(elements.size());
    const int64_t id = 0;
    cpu_backend().normal({1, stream, ConstTensorRef(&id, DType::kInt64, {1})},
                         TensorRef(numbers.data(), DType::kFloat32, {1, s.numel()}));
    for (size_t i = 0; i < elements.size(); ++i) elements[i] = numbers[i];
  }
  TensorRef ref() { return {elements.data(), sizeof(T) == 4 ? DType::kFloat32 : DType::kFloat64, shape}; }
};

enum class Pass { kForward, kDgrad, kWgrad };

/// The result of one pass of a 3x3 convolution [n,size,size,c] -> [n,size,size,k].
template <class T>
std::vector<T> run(Backend& backend, Pass pass, int64_t n, int64_t size, int64_t c, int64_t k) {
  HeapWorkspace workspace;
  const Conv2dGeometry same = Conv2dGeometry::same(3);
  Images<T> x({n, size, size, c}, 1), w({k, 3, 3, c}, 2), y({n, size, size, k}, 3);
  if (pass == Pass::kForward) {
    Images<T> result(y.shape);
    backend.conv2d({x.ref()}, w.ref(), same, {}, result.ref(), workspace);
    return result.elements;
  }
  if (pass == Pass::kDgrad) {
    Images<T> result(x.shape);
    backend.conv2d_dgrad(y.ref(), w.ref(), same, 1, {}, {result.ref()}, workspace);
    return result.elements;
  }
  Images<T> result(w.shape);
  backend.conv2d_wgrad({x.ref()}, y.ref(), same, 1, result.ref(), {}, workspace);
  return result.elements;
}

struct Error {
  double rms = 0, largest = 0;
};

Error error_of(const std::vector<float>& got, const std::vector<double>& exact) {
  Error e;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(got[i] - exact[i]);
    e.rms += d * d;
    e.largest = std::max(e.largest, d);
  }
  e.rms = std::sqrt(e.rms / static_cast<double>(got.size()));
  return e;
}

/// Sums of `length` products of N(0,1) numbers. Adding them up in order rounds by a random walk of standard
/// deviation u length / sqrt(6), and the op table allows u (4 length + 20 sqrt(length + 3)) (op_tolerance.h):
/// Winograd's may have twice the noise, and stray twice as far.
void expect_error(Pass pass, int64_t n, int64_t size, int64_t c, int64_t k, int64_t length) {
  constexpr double kU = 0x1p-24;
  CpuBackend winograd(cpu::ConvWay::kWinograd);
  const Error e = error_of(run<float>(winograd, pass, n, size, c, k),
                           run<double>(reference_backend(), pass, n, size, c, k));
  const double sum = static_cast<double>(length), in_order = kU * sum / std::sqrt(6);
  EXPECT_LE(e.rms, 2 * in_order) << length << " products";
  EXPECT_LE(e.largest, 2 * kU * (4 * sum + 20 * std::sqrt(sum + 3))) << length << " products";
  EXPECT_GE(e.rms, kU * std::sqrt(sum) / 4) << "better than a rounded result can be: the test is broken";
}

TEST(Winograd, ForwardIsNearTheExactSum) {
  for (const int64_t c : {16, 64, 256, 512}) expect_error(Pass::kForward, 2, 8, c, 32, 9 * c);
}

TEST(Winograd, TheGradientOfTheDataIsNearTheExactSum) {
  for (const int64_t k : {16, 64, 256, 512}) expect_error(Pass::kDgrad, 2, 8, 32, k, 9 * k);
}

TEST(Winograd, TheGradientOfTheWeightsIsNearTheExactSum) {
  for (const int64_t n : {1, 4, 16}) expect_error(Pass::kWgrad, n, 16, 32, 16, n * 16 * 16);
}

TEST(Winograd, BitsDoNotDependOnThreads) {
  CpuBackend winograd(cpu::ConvWay::kWinograd);
  const int threads = omp_get_max_threads();
  for (const Pass pass : {Pass::kForward, Pass::kDgrad, Pass::kWgrad}) {
    omp_set_num_threads(1);
    const std::vector<float> one = run<float>(winograd, pass, 3, 13, 40, 72);
    for (const int count : {2, 3, 7}) {
      omp_set_num_threads(count);
      EXPECT_TRUE(run<float>(winograd, pass, 3, 13, 40, 72) == one) << count << " threads";
    }
  }
  omp_set_num_threads(threads);
}

// Images are counted from the first, so those of a smaller batch are the first ones of a larger.
TEST(Winograd, BitsOfAnImageDoNotDependOnTheBatch) {
  CpuBackend winograd(cpu::ConvWay::kWinograd);
  for (const Pass pass : {Pass::kForward, Pass::kDgrad}) {
    const std::vector<float> many = run<float>(winograd, pass, 17, 9, 24, 40);
    for (const int64_t n : {1, 2, 5}) {
      const std::vector<float> few = run<float>(winograd, pass, n, 9, 24, 40);
      EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin())) << n << " images";
    }
  }
}

}  // namespace
}  // namespace imago
