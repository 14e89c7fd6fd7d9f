// What happens to a thread's asynchronous copies when it returns. Internal to the emulator.
#pragma once

namespace imago::cuda_on_cpu::emu {

class Worker;
void finish_async_of_thread(Worker& worker);

}  // namespace imago::cuda_on_cpu::emu
