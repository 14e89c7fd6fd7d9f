// The stream of cuda_backend(), for libraries that are to run on it, too: one order for all, and one graph.
#pragma once

#include <cuda_runtime_api.h>

namespace imago {

/// Of cuda_backend(), which must be there.
cudaStream_t cuda_stream();

}  // namespace imago
