// How the kernels are launched: every case of the op table, on emulated GPUs, with nothing computed.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace imago::cuda_resources {

/// A kernel on one kind of GPU: the largest of its launches.
struct Launched {
  int threads = 0;            // a block
  size_t dynamic_shared = 0;  // bytes a block
};

/// By kernel (readable_name) and the architecture of the GPU that would run it ("sm_80", "sm_90a", "sm_120").
using Launches = std::map<std::string, std::map<std::string, Launched>>;

Launches launches_of_op_table();

}  // namespace imago::cuda_resources
