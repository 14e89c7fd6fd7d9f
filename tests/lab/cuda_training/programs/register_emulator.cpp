// Linked into a program, makes the emulated GPU its CUDA device: `--device cuda` then works on any machine.
#include "engine/tensor/device.h"

namespace imago {
namespace {

[[maybe_unused]] const bool registered = (register_backend(Device::kCuda, cuda_on_cpu_backend()), true);

}  // namespace
}  // namespace imago
