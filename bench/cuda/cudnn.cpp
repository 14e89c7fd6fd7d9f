#include "bench/cuda/cudnn.h"

#include <cudnn.h>

#include <vector>

#include "bench/cuda/shared_object.h"
#include "bench/cuda/stopwatch.h"
#include "bench/cuda/stream.h"

namespace imago {

using Descriptor = std::shared_ptr<void>;

/// The functions of the library, and its descriptors as objects.
struct Cudnn::Api {
  SharedObject library_{"libcudnn.so.9"};
  IMAGO_FROM_LIBRARY(cudnnCreate);
  IMAGO_FROM_LIBRARY(cudnnDestroy);
  IMAGO_FROM_LIBRARY(cudnnSetStream);
  IMAGO_FROM_LIBRARY(cudnnGetVersion);
  IMAGO_FROM_LIBRARY(cudnnGetErrorString);
  IMAGO_FROM_LIBRARY(cudnnBackendCreateDescriptor);
  IMAGO_FROM_LIBRARY(cudnnBackendDestroyDescriptor);
  IMAGO_FROM_LIBRARY(cudnnBackendSetAttribute);
  IMAGO_FROM_LIBRARY(cudnnBackendGetAttribute);
  IMAGO_FROM_LIBRARY(cudnnBackendFinalize);
  IMAGO_FROM_LIBRARY(cudnnBackendExecute);
  cudnnHandle_t handle = nullptr;

  Api() {
    checked(cudnnCreate(&handle), "cudnnCreate");
    checked(cudnnSetStream(handle, cuda_stream()), "cudnnSetStream");
  }
  ~Api() { cudnnDestroy(handle); }

  void checked(cudnnStatus_t status, const char* call) const {
    if (status != CUDNN_STATUS_SUCCESS) failure(call, ": ", cudnnGetErrorString(status));
  }

  Descriptor create(cudnnBackendDescriptorType_t type) const {
    cudnnBackendDescriptor_t raw = nullptr;
    checked(cudnnBackendCreateDescriptor(type, &raw), "cudnnBackendCreateDescriptor");
    return {raw, cudnnBackendDestroyDescriptor};
  }
  template <class T>
  void set(const Descriptor& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
           std::initializer_list<T> values) const {
    checked(
        cudnnBackendSetAttribute(d.get(), name, type, static_cast<int64_t>(values.size()), values.begin()),
        "cudnnBackendSetAttribute");
  }
  void set(const Descriptor& d, cudnnBackendAttributeName_t name, const Descriptor& value) const {
    set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, {value.get()});
  }
  const Descriptor& finalized(const Descriptor& d) const {
    checked(cudnnBackendFinalize(d.get()), "cudnnBackendFinalize");
    return d;
  }
};

namespace {

constexpr int kMostEngines = 6;  // that are tried; the heuristics put the promising ones first
constexpr int64_t kX = 'x', kW = 'w', kY = 'y';

/// A tensor that lies in memory as [d0, d2, d3, d1], the last fastest: NHWC images and [K,R,S,C] weights.
template <class Api>
Descriptor tensor(const Api& api, int64_t id, int64_t d0, int64_t d1, int64_t d2, int64_t d3) {
  const Descriptor t = api.create(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  api.set(t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_BFLOAT16});
  api.set(t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, {d0, d1, d2, d3});
  api.set(t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, {d1 * d2 * d3, int64_t{1}, d1 * d3, d1});
  api.set(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {id});
  api.set(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, {int64_t{16}});
  return api.finalized(t);
}

template <class Api>
Descriptor geometry(const Api& api, const ConvCase& c) {
  const int64_t padding = c.filter / 2, stride = c.stride;
  const Descriptor g = api.create(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  api.set(g, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT});
  api.set(g, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, {CUDNN_CROSS_CORRELATION});
  api.set(g, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, {int64_t{2}});
  api.set(g, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, {padding, padding});
  api.set(g, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, {padding, padding});
  api.set(g, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, {stride, stride});
  api.set(g, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, {int64_t{1}, int64_t{1}});
  return api.finalized(g);
}

/// What the three passes call their parts.
struct PassNames {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t geometry, x, w, y, alpha, beta;
};

PassNames names_of(ConvPass pass) {
  switch (pass) {
    case ConvPass::kForward:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case ConvPass::kDgrad:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    default:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  }
}

template <class Api>
Descriptor operation(const Api& api, ConvPass pass, const ConvCase& c) {
  const PassNames names = names_of(pass);
  const Descriptor o = api.create(names.operation);
  api.set(o, names.geometry, geometry(api, c));
  api.set(o, names.x, tensor(api, kX, c.n, c.c, c.h, c.w));
  api.set(o, names.w, tensor(api, kW, c.k, c.c, c.filter, c.filter));
  api.set(o, names.y, tensor(api, kY, c.n, c.k, c.out_h(), c.out_w()));
  api.set(o, names.alpha, CUDNN_TYPE_FLOAT, {1.0f});
  api.set(o, names.beta, CUDNN_TYPE_FLOAT, {0.0f});
  return api.finalized(o);
}

/// The engines that the heuristics propose for a graph, the best first.
template <class Api>
std::vector<Descriptor> engines(const Api& api, const Descriptor& graph) {
  const Descriptor heuristics = api.create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  api.set(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  api.set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, {CUDNN_HEUR_MODE_A});
  api.finalized(heuristics);
  std::vector<Descriptor> found;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int i = 0; i < kMostEngines; ++i) {
    found.push_back(api.create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    raw.push_back(found.back().get());
  }
  int64_t count = 0;
  api.checked(api.cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, kMostEngines, &count, raw.data()),
              "cudnnBackendGetAttribute");
  found.resize(static_cast<size_t>(std::min<int64_t>(count, kMostEngines)));
  return found;
}

/// How an engine runs a graph. Throws where it cannot, or needs more workspace.
template <class Api>
Descriptor execution_plan(const Api& api, const Descriptor& engine, size_t workspace_bytes) {
  const Descriptor plan = api.create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  api.set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, {api.handle});
  api.set(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine);
  api.finalized(plan);
  int64_t count = 0, needed = 0;
  api.checked(api.cudnnBackendGetAttribute(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                           CUDNN_TYPE_INT64, 1, &count, &needed),
              "cudnnBackendGetAttribute");
  check(static_cast<size_t>(needed) <= workspace_bytes, "the engine needs ", needed, " bytes of workspace");
  return plan;
}

}  // namespace

Cudnn::Cudnn() : api_(std::make_shared<Api>()) {}
Cudnn::~Cudnn() = default;

std::string Cudnn::version() const {
  const size_t v = api_->cudnnGetVersion();
  return str("cuDNN ", v / 10000, ".", v / 100 % 100, ".", v % 100);
}

LibraryAlgorithm Cudnn::convolution(ConvPass pass, const ConvCase& c, const ConvPointers& pointers,
                                    const LibraryWorkspace& workspace) const {
  const Api& api = *api_;
  const Descriptor graph = api.create(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  api.set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, {api.handle});
  api.set(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation(api, pass, c));
  api.finalized(graph);

  LibraryAlgorithm best;
  double best_seconds = 0;
  std::string last_problem = "the heuristics propose none";
  for (const Descriptor& engine : engines(api, graph)) {
    try {
      const Descriptor plan = execution_plan(api, engine, workspace.bytes);
      const LibraryAlgorithm algorithm = [api = api_, plan, workspace](const ConvPointers& p) -> LibraryCall {
        const Descriptor pack = api->create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
        api->set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, {kX, kW, kY});
        api->set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, {p.x, p.w, p.y});
        api->set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, {workspace.memory});
        api->finalized(pack);
        return [api, plan, pack] {
          api->checked(api->cudnnBackendExecute(api->handle, plan.get(), pack.get()), "cudnnBackendExecute");
        };
      };
      const double seconds = seconds_to_compare(algorithm(pointers));
      if (!best || seconds < best_seconds) best = algorithm, best_seconds = seconds;
    } catch (const Error& e) {
      last_problem = e.what();
    }
  }
  if (!best) failure("no engine of cuDNN takes it: ", last_problem);
  return best;
}

}  // namespace imago
