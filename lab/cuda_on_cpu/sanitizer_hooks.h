// The sanitizer entry points that fibers must call, as weak symbols: the runtime is compiled once, without
// instrumentation, and announces its fibers to whichever sanitizer the final program is linked with.
// (Uninstrumented on purpose: what the emulator does to its own data is no access of the kernel's.)
#pragma once

#include <cstddef>

extern "C" {
[[gnu::weak]] void* __tsan_get_current_fiber(void);
[[gnu::weak]] void* __tsan_create_fiber(unsigned flags);
[[gnu::weak]] void __tsan_switch_to_fiber(void* fiber, unsigned flags);
[[gnu::weak]] void __tsan_acquire(void* address);
[[gnu::weak]] void __tsan_release(void* address);
[[gnu::weak]] void AnnotateIgnoreWritesBegin(const char* file, int line);
[[gnu::weak]] void AnnotateIgnoreWritesEnd(const char* file, int line);
[[gnu::weak]] void __tsan_read_range(void* address, unsigned long bytes);
[[gnu::weak]] void __tsan_write_range(void* address, unsigned long bytes);
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, size_t size);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** old_bottom,
                                                   size_t* old_size);
[[gnu::weak]] void __asan_poison_memory_region(void const volatile* address, size_t bytes);
[[gnu::weak]] void __asan_unpoison_memory_region(void const volatile* address, size_t bytes);
[[gnu::weak]] void* __asan_region_is_poisoned(void* address, size_t bytes);
/// Set by trace.cpp, the stand-in for the TSan runtime that counts bank conflicts and memory sectors.
[[gnu::weak]] void imago_trace_access(const void* address, size_t bytes, int write, const char* file,
                                      int line);
}

namespace imago::cuda_on_cpu::emu {

inline bool under_tsan() {
  return __tsan_switch_to_fiber != nullptr;
}
inline bool under_asan() {
  return __asan_region_is_poisoned != nullptr;
}
constexpr unsigned kNoSync = 1;  // __tsan_switch_to_fiber_no_sync: a switch orders nothing, barriers do

// One happens-before edge: everything before release(tag) is visible after acquire(tag).
inline void acquire(void* tag) {
  if (__tsan_acquire) __tsan_acquire(tag);
}
inline void release(void* tag) {
  if (__tsan_release) __tsan_release(tag);
}

/// For the emulator's own heap blocks, which fibers hand to each other: TSan sees malloc and free
/// even from here.
struct Quiet {
  Quiet() {
    if (AnnotateIgnoreWritesBegin) AnnotateIgnoreWritesBegin("", 0);
  }
  ~Quiet() {
    if (AnnotateIgnoreWritesEnd) AnnotateIgnoreWritesEnd("", 0);
  }
  Quiet(const Quiet&) = delete;
};

}  // namespace imago::cuda_on_cpu::emu
