// Device memory, and which host memory is pinned. Internal to the emulator.
#pragma once

#include <cstddef>

#include "kernels/cuda/source_line.h"

namespace imago::cuda_on_cpu::emu {

void* allocate_device(size_t bytes);  // NaN-filled, between red zones; null when the device is full
bool free_device(void* p);            // false: not an allocation
bool in_device_memory(const void* p, size_t bytes);
void check_device_red_zones(SourceLine where);  // dies if one was written to
size_t device_bytes_total();
size_t device_bytes_used();

void* allocate_pinned(size_t bytes);
void register_pinned(void* p, size_t bytes);
bool free_pinned(void* p);  // also unregisters
bool is_pinned(const void* p);

/// Dies unless a kernel may touch these bytes of global memory: inside one device allocation or pinned.
void check_global(const char* op, const void* p, size_t bytes, SourceLine where);

}  // namespace imago::cuda_on_cpu::emu
