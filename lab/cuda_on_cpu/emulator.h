// The emulator as seen by kernels and by the host bodies of kernels/cuda/device/ptx.h.
//
// A block runs on one OS thread, one fiber per CUDA thread; independent blocks may run on several OS threads.
// The schedule is the least helpful one that CUDA allows: a fiber runs until it must wait, an asynchronous
// copy lands only when somebody waits for it, shared and device memory start as NaN. IMAGO_EMU_SEED=n
// shuffles fibers, blocks and the landing of copies, reproducibly. Whatever a GPU would answer with a hang or
// with garbage ends in a report that names the source line, and abort().
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/source_line.h"

namespace imago::cuda_on_cpu::emu {

// ---- threads, barriers ----
int lane();              // of the calling thread, 0..31
void yield();            // lets the other fibers run
uint64_t nanoseconds();  // of the host's steady clock: all of the emulated GPU's clocks
void atomic_point();     // atomics may be polled: gives the others a turn now and then
[[noreturn]] void die(SourceLine where, const char* format, ...) __attribute__((format(printf, 2, 3)));

/// __syncthreads of every flavour: waits for all threads of the block, returns how many came with
/// a nonzero predicate.
int sync_threads(const char* op, int predicate, SourceLine where);
/// bar.sync / bar.arrive: named barrier `id` (1..15; 0 is __syncthreads), `threads` a multiple of 32.
void named_barrier(int id, int threads, bool wait, SourceLine where);

enum class WarpReduction { kAdd, kMin, kMinSigned, kMax, kMaxSigned, kAnd, kOr, kXor };
void sync_warp(unsigned mask, SourceLine where);
void warp_shuffle(const char* op, unsigned mask, const void* value, void* result, int bytes, int source,
                  SourceLine where);
unsigned warp_reduce(const char* op, unsigned mask, unsigned value, WarpReduction kind, SourceLine where);
/// All 32 lanes meet and leave: what `.sync.aligned` instructions do besides their work.
void converge(const char* op, SourceLine where);

// ---- shared memory ----
/// The static shared array declared at `key`, the same for every thread of the block.
void* static_shared(const void* key, const char* name, size_t bytes, size_t alignment);
void* dynamic_shared();
/// The 32-bit address of a byte of shared memory, as descriptors and PTX operands see it.
uint32_t shared_address(const void* p);

// ---- matrix instructions (matrix.cpp) ----
/// ldmatrix of n 8x8 matrices of 16-bit elements: `row` is the 16-byte row that this lane has read.
void load_matrix(int n, bool transposed, const uint32_t row[4], uint32_t* fragment, SourceLine where);
/// stmatrix: the row that this lane has to write, for lanes below 8 n.
void store_matrix(int n, bool transposed, const uint32_t* fragment, uint32_t row[4], SourceLine where);
void mma_m16n8k16_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], SourceLine where);
void mma_m16n8k8_tf32(float d[4], const uint32_t a[4], const uint32_t b[2], SourceLine where);
float round_to_tf32(float f);
void check_row(const char* op, const void* row, SourceLine where);  // 16-byte alignment, inside shared memory

// ---- cp.async ----
void copy_async(void* dst, const void* src, int bytes, int src_bytes, SourceLine where);
void copy_async_commit();
void copy_async_wait(int pending);
void copy_async_arrive(uint64_t* barrier, SourceLine where);  // cp.async.mbarrier.arrive.noinc

// ---- mbarrier ----
void mbarrier_init(uint64_t* barrier, unsigned count, SourceLine where);
void mbarrier_invalidate(uint64_t* barrier, SourceLine where);
void mbarrier_expect(uint64_t* barrier, unsigned bytes, SourceLine where);  // expect_tx without an arrival
void mbarrier_arrive(uint64_t* barrier, unsigned count, SourceLine where);
bool mbarrier_test(uint64_t* barrier, unsigned parity, SourceLine where);
void mbarrier_wait(uint64_t* barrier, unsigned parity, SourceLine where);

// ---- async proxy, TMA ----
void fence_proxy_async();
void fence_mbarrier_init();
struct TensorMap;
void tensor_load(void* dst, const TensorMap* map, uint64_t* barrier, const int* coords, int rank,
                 SourceLine where);
void tensor_store(const TensorMap* map, const void* src, const int* coords, int rank, SourceLine where);
void bulk_load(void* dst, const void* src, unsigned bytes, uint64_t* barrier, SourceLine where);
void bulk_store(void* dst, const void* src, unsigned bytes, SourceLine where);
void bulk_commit();
void bulk_wait(int pending, bool read_only);

// ---- wgmma ----
/// D (64 x n) = A B (+ D): a_fragment is null when A comes from shared memory too.
void wgmma(int n, float* d, const uint32_t* a_fragment, uint64_t a, uint64_t b, bool add, bool a_mn_major,
           bool b_mn_major, SourceLine where);
void wgmma_fence(SourceLine where);
void wgmma_commit(SourceLine where);
void wgmma_wait(int pending, SourceLine where);

}  // namespace imago::cuda_on_cpu::emu
