// Copy, fill and compare without libc: sanitizers intercept memcpy even when it is called from code that they
// do not instrument, and would take the emulator's bookkeeping for accesses of the kernel.
#pragma once

#include <cstddef>
#include <cstdint>

namespace imago::cuda_on_cpu::emu {

inline void quiet_copy(void* to, const void* from, size_t bytes) {
  auto* t = static_cast<unsigned char*>(to);
  auto* f = static_cast<const unsigned char*>(from);
  size_t i = 0;
  for (; i + 16 <= bytes; i += 16) __builtin_memcpy(t + i, f + i, 16);
  for (; i < bytes; ++i) t[i] = f[i];
}

inline void quiet_fill(void* to, unsigned char value, size_t bytes) {
  auto* t = static_cast<unsigned char*>(to);
  const uint64_t word = 0x0101010101010101ull * value;
  size_t i = 0;
  for (; i + 8 <= bytes; i += 8) __builtin_memcpy(t + i, &word, 8);
  for (; i < bytes; ++i) t[i] = value;
}

inline bool quiet_equal(const void* a, const void* b, size_t bytes) {
  auto* x = static_cast<const unsigned char*>(a);
  auto* y = static_cast<const unsigned char*>(b);
  size_t i = 0;
  uint64_t difference = 0;
  for (; i + 8 <= bytes; i += 8) {
    uint64_t u, v;
    __builtin_memcpy(&u, x + i, 8);
    __builtin_memcpy(&v, y + i, 8);
    difference |= u ^ v;
  }
  for (; i < bytes; ++i) difference |= static_cast<uint64_t>(x[i] ^ y[i]);
  return difference == 0;
}

}  // namespace imago::cuda_on_cpu::emu
