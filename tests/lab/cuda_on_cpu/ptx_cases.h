// Small kernels, one for each wrapper of ptx.h and each warp intrinsic, and some for what is made of several,
// with what must come out by plain loops. They compile for both worlds: tests run them on the emulator,
// ptx_conformance on a GPU and on the emulator side by side.
//
// Inputs are small integers, so that every sum is exact and results do not depend on the order of additions.
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/device/ptx.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

using Words = std::vector<uint32_t>;

struct PtxCase {
  std::string name;
  int capability;                   // 80 or 90: what the instruction needs; 91 stands for sm_90a alone
  std::function<Words()> run;       // launches the kernel
  std::function<Words()> expected;  // plain loops
  uint32_t ulps = 0;                // words are floats that may differ by so many units in the last place
};

std::vector<PtxCase> warp_cases();
std::vector<PtxCase> matrix_cases();
std::vector<PtxCase> copy_cases();
std::vector<PtxCase> tma_cases();
std::vector<PtxCase> wgmma_cases();
std::vector<PtxCase> pipeline_cases();

inline std::vector<PtxCase> all_ptx_cases() {
  std::vector<PtxCase> all;
  for (auto* list : {warp_cases, matrix_cases, copy_cases, tma_cases, wgmma_cases, pipeline_cases})
    for (PtxCase& c : list()) all.push_back(std::move(c));
  return all;
}

/// An array in device memory for the length of a test.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n) : n_(n) {
    checked(cudaMalloc(&p_, n * sizeof(T)), "allocating a test's operand");
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    checked(cudaMemcpy(p_, values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice),
            "uploading a test's operand");
  }
  ~DeviceArray() { cudaFree(p_); }
  DeviceArray(const DeviceArray&) = delete;
  T* get() const { return p_; }
  std::vector<T> download() const {
    std::vector<T> values(n_);
    checked(cudaMemcpy(values.data(), p_, n_ * sizeof(T), cudaMemcpyDeviceToHost),
            "downloading a test's result");
    return values;
  }

 private:
  T* p_ = nullptr;
  size_t n_;
};

inline Words words_of(const std::vector<float>& v) {
  Words w(v.size());
  std::memcpy(w.data(), v.data(), v.size() * sizeof(float));
  return w;
}

/// Element i of a deterministic sequence of integers in -4..4.
inline int small_integer(uint32_t i) {
  uint32_t h = (i + 1) * 2654435761u;
  h ^= h >> 15;
  return static_cast<int>(h * 2246822519u >> 16) % 5 - static_cast<int>(h >> 8) % 5 % 3;
}
inline std::vector<float> small_integers(size_t n, uint32_t seed) {
  std::vector<float> v(n);
  for (size_t i = 0; i < n; ++i)
    v[i] = static_cast<float>(small_integer(static_cast<uint32_t>(i) + 7919 * seed));
  return v;
}
inline std::vector<__nv_bfloat16> to_bfloat16(const std::vector<float>& v) {
  std::vector<__nv_bfloat16> b(v.size());
  for (size_t i = 0; i < v.size(); ++i) b[i] = __float2bfloat16(v[i]);
  return b;
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
