#include "bench/cuda/cublaslt.h"

#include <cublasLt.h>

#include <vector>

#include "bench/cuda/shared_object.h"
#include "bench/cuda/stopwatch.h"
#include "bench/cuda/stream.h"

namespace imago {

struct CublasLt::Api {
  SharedObject library_{"libcublasLt.so.13"};
  IMAGO_FROM_LIBRARY(cublasLtCreate);
  IMAGO_FROM_LIBRARY(cublasLtDestroy);
  IMAGO_FROM_LIBRARY(cublasLtGetVersion);
  IMAGO_FROM_LIBRARY(cublasLtGetStatusString);
  IMAGO_FROM_LIBRARY(cublasLtMatmul);
  IMAGO_FROM_LIBRARY(cublasLtMatmulAlgoGetHeuristic);
  IMAGO_FROM_LIBRARY(cublasLtMatmulDescCreate);
  IMAGO_FROM_LIBRARY(cublasLtMatmulDescDestroy);
  IMAGO_FROM_LIBRARY(cublasLtMatmulDescSetAttribute);
  IMAGO_FROM_LIBRARY(cublasLtMatmulPreferenceCreate);
  IMAGO_FROM_LIBRARY(cublasLtMatmulPreferenceDestroy);
  IMAGO_FROM_LIBRARY(cublasLtMatmulPreferenceSetAttribute);
  IMAGO_FROM_LIBRARY(cublasLtMatrixLayoutCreate);
  IMAGO_FROM_LIBRARY(cublasLtMatrixLayoutDestroy);
  cublasLtHandle_t handle = nullptr;

  Api() { checked(cublasLtCreate(&handle), "cublasLtCreate"); }
  ~Api() { cublasLtDestroy(handle); }

  void checked(cublasStatus_t status, const char* call) const {
    if (status != CUBLAS_STATUS_SUCCESS) failure(call, ": ", cublasLtGetStatusString(status));
  }
};

namespace {

constexpr int kMostAlgorithms = 8;

enum class Matrix { kX, kW, kY };

void* pointer_to(const ConvPointers& p, Matrix m) {
  return m == Matrix::kX ? p.x : m == Matrix::kW ? p.w : p.y;
}

/// D = op(A) op(B). cuBLAS counts columns first, so it sees each of our row-major matrices transposed, and
/// y = x w^T is y^T = w x^T to it.
struct Roles {
  Matrix a, b, d;
  bool transpose_a, transpose_b;
};

Roles roles_of(ConvPass pass) {
  switch (pass) {
    case ConvPass::kForward: return {Matrix::kW, Matrix::kX, Matrix::kY, true, false};
    case ConvPass::kDgrad: return {Matrix::kW, Matrix::kY, Matrix::kX, false, false};
    default: return {Matrix::kX, Matrix::kY, Matrix::kW, false, true};
  }
}

template <class T>
using Owned = std::shared_ptr<std::remove_pointer_t<T>>;

template <class Api>
Owned<cublasLtMatrixLayout_t> layout(const Api& api, const ConvCase& c, Matrix m, cudaDataType_t type) {
  const uint64_t rows = static_cast<uint64_t>(m == Matrix::kW ? c.k : c.n * c.h * c.w);
  const uint64_t columns = static_cast<uint64_t>(m == Matrix::kY ? c.k : c.c);
  cublasLtMatrixLayout_t raw = nullptr;
  api.checked(api.cublasLtMatrixLayoutCreate(&raw, type, columns, rows, static_cast<int64_t>(columns)),
              "cublasLtMatrixLayoutCreate");
  return {raw, api.cublasLtMatrixLayoutDestroy};
}

template <class Api>
Owned<cublasLtMatmulDesc_t> operation(const Api& api, const Roles& roles) {
  cublasLtMatmulDesc_t raw = nullptr;
  api.checked(api.cublasLtMatmulDescCreate(&raw, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  const Owned<cublasLtMatmulDesc_t> operation(raw, api.cublasLtMatmulDescDestroy);
  const auto transpose = [&](cublasLtMatmulDescAttributes_t which, bool on) {
    const cublasOperation_t value = on ? CUBLAS_OP_T : CUBLAS_OP_N;
    api.checked(api.cublasLtMatmulDescSetAttribute(raw, which, &value, sizeof value),
                "cublasLtMatmulDescSetAttribute");
  };
  transpose(CUBLASLT_MATMUL_DESC_TRANSA, roles.transpose_a);
  transpose(CUBLASLT_MATMUL_DESC_TRANSB, roles.transpose_b);
  return operation;
}

}  // namespace

CublasLt::CublasLt() : api_(std::make_shared<Api>()) {}
CublasLt::~CublasLt() = default;

std::string CublasLt::version() const {
  const size_t v = api_->cublasLtGetVersion();
  return str("cuBLASLt ", v / 10000, ".", v / 100 % 100, ".", v % 100);
}

LibraryAlgorithm CublasLt::product(ConvPass pass, const ConvCase& c, const ConvPointers& pointers,
                                   const LibraryWorkspace& workspace) const {
  const Api& api = *api_;
  const Roles roles = roles_of(pass);
  const auto op = operation(api, roles);
  const auto a = layout(api, c, roles.a, CUDA_R_16BF), b = layout(api, c, roles.b, CUDA_R_16BF);
  const auto d = layout(api, c, roles.d, CUDA_R_16BF);

  cublasLtMatmulPreference_t raw = nullptr;
  api.checked(api.cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
  const Owned<cublasLtMatmulPreference_t> preference(raw, api.cublasLtMatmulPreferenceDestroy);
  api.checked(api.cublasLtMatmulPreferenceSetAttribute(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                       &workspace.bytes, sizeof workspace.bytes),
              "cublasLtMatmulPreferenceSetAttribute");
  std::vector<cublasLtMatmulHeuristicResult_t> proposals(kMostAlgorithms);
  int count = 0;
  api.checked(api.cublasLtMatmulAlgoGetHeuristic(api.handle, op.get(), a.get(), b.get(), d.get(), d.get(),
                                                 raw, kMostAlgorithms, proposals.data(), &count),
              "cublasLtMatmulAlgoGetHeuristic");
  proposals.resize(static_cast<size_t>(count));

  LibraryAlgorithm best;
  double best_seconds = 0;
  for (const cublasLtMatmulHeuristicResult_t& proposal : proposals) {
    if (proposal.state != CUBLAS_STATUS_SUCCESS) continue;
    const LibraryAlgorithm algorithm = [=, api = api_,
                                        chosen = proposal.algo](const ConvPointers& p) -> LibraryCall {
      void* const to = pointer_to(p, roles.d);
      return [=] {
        const float one = 1, zero = 0;
        api->checked(api->cublasLtMatmul(api->handle, op.get(), &one, pointer_to(p, roles.a), a.get(),
                                         pointer_to(p, roles.b), b.get(), &zero, to, d.get(), to, d.get(),
                                         &chosen, workspace.memory, workspace.bytes, cuda_stream()),
                     "cublasLtMatmul");
      };
    };
    try {
      const double seconds = seconds_to_compare(algorithm(pointers));
      if (!best || seconds < best_seconds) best = algorithm, best_seconds = seconds;
    } catch (const Error&) {
      continue;  // the heuristics propose what may not run
    }
  }
  if (!best) failure("no algorithm of cuBLASLt takes it");
  return best;
}

}  // namespace imago
