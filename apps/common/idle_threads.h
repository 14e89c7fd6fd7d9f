// How a program's OpenMP threads wait.
#pragma once

namespace imago {

/// Makes OpenMP's idle threads sleep instead of spin, in the whole process and from now on. Nothing is done
/// if the user has chosen a policy (OMP_WAIT_POLICY, GOMP_SPINCOUNT). For programs to call: a library leaves
/// the threads of its caller alone.
void keep_idle_threads_asleep();

}  // namespace imago
