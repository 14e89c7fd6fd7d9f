// Stacks and the switch between them: a few pushes and pops, about 5 ns.
#include "lab/cuda_on_cpu/fiber.h"

#include <sys/mman.h>

#include <cstdlib>

#include "kernels/error.h"
#include "lab/cuda_on_cpu/sanitizer_hooks.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace imago::cuda_on_cpu::emu {
namespace {

constexpr size_t kStackBytes = 256 << 10, kGuardBytes = 4096;
// Stacks of equal alignment would fight for the same cache sets: each starts at its own "colour".
constexpr size_t kColours = 61, kColourBytes = 1088;

thread_local Context* left = nullptr;  // the context that the running switch came from

}  // namespace

#if defined(__x86_64__)
extern "C" void imago_switch_stack(void** save, void* to);
// Only what the calling convention says a callee preserves; rounding modes are the process's and stay.
__asm__(R"(
.text
.p2align 4
.globl imago_switch_stack
.hidden imago_switch_stack
.type imago_switch_stack,@function
imago_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size imago_switch_stack,.-imago_switch_stack
)");

static void* initial_stack_pointer(char* top, void (*entry)()) {
  void** sp = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{63}) - 1;
  *sp-- = nullptr;  // where a debugger stops unwinding
  *sp-- =
      reinterpret_cast<void*>(entry);  // what the switch returns into, with the stack aligned as after a call
  for (int i = 0; i < 6; ++i) *sp-- = nullptr;
  return sp + 1;
}
#else
static void imago_switch_stack(void** save, void* to) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}
static void* initial_stack_pointer(char* top, void (*entry)()) {
  auto* context =
      reinterpret_cast<ucontext_t*>((reinterpret_cast<uintptr_t>(top) - sizeof(ucontext_t)) & ~uintptr_t{63});
  getcontext(context);
  context->uc_stack.ss_sp = top - kStackBytes / 2;
  context->uc_stack.ss_size = reinterpret_cast<char*>(context) - (top - kStackBytes / 2);
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}
#endif

void switch_context(Context& from, Context& to, bool last) {
  left = &from;
  if (__sanitizer_start_switch_fiber)
    __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.stack_bottom, to.stack_size);
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(to.tsan, kNoSync);
  imago_switch_stack(&from.stack_pointer, to.stack_pointer);
  if (__sanitizer_finish_switch_fiber)
    __sanitizer_finish_switch_fiber(from.fake_stack, &left->stack_bottom, &left->stack_size);
}

void enter_fiber() {
  if (__sanitizer_finish_switch_fiber)
    __sanitizer_finish_switch_fiber(nullptr, &left->stack_bottom, &left->stack_size);
}

void prepare_fiber(Fiber& fiber, void (*entry)()) {
  Context& c = fiber.context;
  if (!c.stack_bottom) {
    void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(stack != MAP_FAILED, "cuda_on_cpu: no memory for the stack of a CUDA thread");
    mprotect(stack, kGuardBytes, PROT_NONE);  // an overflow stops there
    c.stack_bottom = stack;
    c.stack_size = kStackBytes;
    if (__tsan_create_fiber) c.tsan = __tsan_create_fiber(0);
  }
  char* bottom = static_cast<char*>(const_cast<void*>(c.stack_bottom));
  if (__asan_unpoison_memory_region)
    __asan_unpoison_memory_region(bottom + kGuardBytes, kStackBytes - kGuardBytes);
  char* top = bottom + kStackBytes - static_cast<size_t>(fiber.index) % kColours * kColourBytes;
  c.stack_pointer = initial_stack_pointer(top, entry);
  c.fake_stack = nullptr;
}

}  // namespace imago::cuda_on_cpu::emu
