// A stream's work as a CUDA graph: hundreds of launches for the price of one.
#pragma once

#include <functional>
#include <memory>

#include "kernels/backend.h"
#include "kernels/cuda/device/launch.h"

namespace imago::IMAGO_CUDA_NAMESPACE {

/// Captures what `enqueue` puts on `stream`. The graph is launched on the same stream. If `enqueue` throws,
/// the capture is given up and the stream is as before.
std::unique_ptr<Graph> capture_stream(cudaStream_t stream, const std::function<void()>& enqueue);

}  // namespace imago::IMAGO_CUDA_NAMESPACE
