// The resources that kernels take, and what is wrong with them.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "lab/cuda_resources/launches.h"
#include "lab/cuda_resources/ptxas_log.h"

namespace imago::cuda_resources {

/// One line each: registers that spill, wgmma that runs serialized, ignored setmaxnreg, blocks that do not
/// fit a multiprocessor, kernels that no case of the op table launches. No kernel is excused.
std::vector<std::string> faults_of(const PtxasLog& log, const Launches& launches);

/// A line a kernel whose name `only` (a regular expression) matches. For every architecture: registers a
/// thread, KiB of shared memory a block, blocks on a multiprocessor and the share of its warps that they are.
void print_table(std::ostream& out, const PtxasLog& log, const Launches& launches, const std::string& only,
                 bool markdown);

}  // namespace imago::cuda_resources
