// A stream's work as a CUDA graph: hundreds of launches for the price of one. A training step of the CIFAR-10
// U-Net is several hundred launches of some 15 us each; enqueued one by one the host's 3 to 5 us a launch
// would show wherever kernels are short.
#include <memory>

#include "kernels/cuda/runtime/cuda_backend.h"

namespace imago::IMAGO_CUDA_NAMESPACE {
namespace {

class StreamGraph final : public Graph {
 public:
  StreamGraph(cudaStream_t stream, cudaGraph_t graph) : stream_(stream) {
    const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    checked(error, "cudaGraphInstantiate");
  }
  ~StreamGraph() override {
    cudaStreamSynchronize(stream_);  // it may be running
    cudaGraphExecDestroy(executable_);
  }
  void launch() override { IMAGO_CUDA(cudaGraphLaunch(executable_, stream_)); }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

/// Captures what `enqueue` puts on `stream`, on which the graph is launched, too. If `enqueue` throws, the
/// capture is given up and the stream is as before.
std::unique_ptr<Graph> capture_stream(cudaStream_t stream, const std::function<void()>& enqueue) {
  // Relaxed: the allocator may have to ask the device for memory meanwhile.
  IMAGO_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  IMAGO_CUDA(cudaStreamEndCapture(stream, &graph));
  return std::make_unique<StreamGraph>(stream, graph);
}

}  // namespace

std::unique_ptr<Graph> CudaBackend::record_graph(const std::function<void()>& enqueue) {
  recording_ = true;
  std::unique_ptr<Graph> graph;
  try {
    graph = capture_stream(gpu_.stream, enqueue);
  } catch (...) {
    recording_ = false;
    throw;
  }
  recording_ = false;
  return graph;
}

}  // namespace imago::IMAGO_CUDA_NAMESPACE
