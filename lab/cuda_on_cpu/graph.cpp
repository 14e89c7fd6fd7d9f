// Graphs by capture: the work that would have gone to a stream is kept, with what it comes
// after, and replayed.
#include <algorithm>

#include "lab/cuda_on_cpu/settings.h"
#include "lab/cuda_on_cpu/stream.h"

namespace imago::cuda_on_cpu {

using namespace emu;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  if (!stream || stream->capture) return remember(cudaErrorStreamCaptureUnsupported);
  stream->capture = std::make_shared<Graph>();
  stream->capture->origin = stream;
  stream->capture->streams.insert(stream);
  stream->last_nodes.clear();
  r.captures += mode == cudaStreamCaptureModeGlobal;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  *graph = nullptr;
  if (!stream || !stream->capture || stream->capture->origin != stream)
    return remember(cudaErrorInvalidValue);
  const std::shared_ptr<Graph> g = stream->capture;
  bool joined = true;
  for (Stream* s : g->streams) {
    joined = joined && (s == stream || s->joined);
    s->capture.reset();
    s->last_nodes.clear();
  }
  if (r.captures) --r.captures;
  if (!joined) return remember(cudaErrorStreamCaptureUnjoined);
  *graph = new Graph{g->nodes, {}, nullptr};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  *status = r.resolve(stream).capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  const size_t room = nodes ? *count : 0;
  for (size_t i = 0; i < std::min(room, graph->nodes.size()); ++i) nodes[i] = &graph->nodes[i];
  *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  *type = node->kernel ? cudaGraphNodeTypeKernel : cudaGraphNodeTypeMemcpy;
  return cudaSuccess;
}

cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t node, cudaKernelNodeParams* params) {
  if (!node->kernel) return remember(cudaErrorInvalidValue);
  *params = *node->kernel;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new GraphExec{graph->nodes};
  return cudaSuccess;
}

namespace {

/// An order that respects every edge; shuffled runs choose any, the plain one the order of capture.
std::vector<size_t> replay_order(const std::vector<GraphNode>& nodes) {
  std::vector<size_t> order, ready, missing(nodes.size());
  std::vector<std::vector<size_t>> followers(nodes.size());
  static uint64_t state = Settings::get().seed;
  for (size_t i = 0; i < nodes.size(); ++i) {
    missing[i] = nodes[i].after.size();
    for (size_t a : nodes[i].after) followers[a].push_back(i);
    if (missing[i] == 0) ready.push_back(i);
  }
  while (!ready.empty()) {
    size_t pick = static_cast<size_t>(std::min_element(ready.begin(), ready.end()) - ready.begin());
    if (Settings::get().seed) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      pick = (state >> 33) % ready.size();
    }
    const size_t i = ready[pick];
    ready.erase(ready.begin() + static_cast<ptrdiff_t>(pick));
    order.push_back(i);
    for (size_t f : followers[i])
      if (--missing[f] == 0) ready.push_back(f);
  }
  return order;
}

}  // namespace

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  Runtime& r = Runtime::get();
  Lock lock(r.mutex);
  for (const GraphNode& node : exec->nodes)  // the limits of now, not those of the capture
    if (node.kernel && node.kernel->sharedMemBytes > shared_limit(node.kernel->func))
      return remember(cudaErrorInvalidValue);
  // The work holds its own copy: an executable graph may be destroyed while it runs.
  return remember(r.enqueue(r.resolve(stream), [nodes = exec->nodes] {
    for (size_t i : replay_order(nodes)) nodes[i].run();
  }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

}  // namespace imago::cuda_on_cpu
