// Reports: what went wrong, in which kernel and block, and where every thread of the block stands.
#pragma once

#include <string>

#include "kernels/cuda/source_line.h"

namespace imago::cuda_on_cpu::emu {

/// "conv2d.cu:88"
std::string brief(SourceLine where);
bool same_op(const char* a, const char* b);
[[noreturn]] void report_and_abort(const std::string& headline);

}  // namespace imago::cuda_on_cpu::emu
