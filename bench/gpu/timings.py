"""How fast is it: training steps, the constants of the cost model, the autotuner, NVIDIA's libraries, PyTorch."""

import glob
import os

from part import Part, json_lines, named, verdict_of

NETWORKS = {  # bench/configs: images a step
    "ddpm_cifar10_32": 128,  # google/ddpm-cifar10-32
    "guided_64": 32,
    "butterflies_32": 64,
}
STEP_SECONDS = 60  # of a program that times steps
TIMED = ("--warmup", "20", "--steps", "30", "--rounds", "5")


def train_step(context, network, *options):
    return [context.programs / "bench_train_step", "--trainer", "--json", "--device", "cuda",
            "--config", context.config(network), "--batch", NETWORKS[network], "--mixed_precision", "bf16",
            "--threads", context.cores, *options]


def milliseconds(name, row):
    return f"{name} {1000 * row['step_s_median']:.2f} ms" if "step_s_median" in row else f"{name} {row['problem']}"


def steps(context, runner):
    """Whole steps of every network, then each with its operations timed one by one."""
    done, rows = [], []

    def part(verdict):
        return Part(verdict, ", ".join(milliseconds(row["network"], row) for row in rows), rows)

    for network in NETWORKS:
        done.append(runner.run(train_step(context, network, *TIMED), seconds=STEP_SECONDS))
        rows.append(named(network, done[-1]))
        yield part("running")
    for row in rows:
        profiled = train_step(context, row["network"], "--warmup", 3, "--steps", 5, "--profile")
        done.append(runner.run(profiled, seconds=STEP_SECONDS))
        row["profile"] = named("", done[-1]).get("profile", [])
        yield part("running")
    yield part(verdict_of(done, rows))


def constants(context, runner):
    done = runner.run([context.programs / "bench_gpu_constants"])
    rows = [row for row in json_lines(done.output) if "constant" in row]
    note = ", ".join(f"{row['constant']} {row['value']:.3g} {row['unit']}" for row in rows)
    yield Part(verdict_of([done]) if rows or not done.passed else "failed", note or "gave no result", rows)


def autotuner(context, runner):
    """The same steps with the kernels that the rules choose, and with those that measuring chooses."""
    done, rows = [], []
    for network in NETWORKS:
        row = {"network": network}
        for setting in ("off", "on"):
            command = train_step(context, network, *TIMED)
            done.append(runner.run(command, {"IMAGO_AUTOTUNE": setting}, seconds=STEP_SECONDS))
            found = named(network, done[-1])
            row[setting] = found.get("step_s_median")
            row.update({"problem": found["problem"]} if "problem" in found else {})
        rows.append(row)
        gains = [f"{row['network']} {row['off'] / row['on']:.2f} times as fast" if row["off"] and row["on"]
                 else f"{row['network']} {row['problem']}" for row in rows]
        yield Part("running", ", ".join(gains), rows)
    yield Part(verdict_of(done, rows), ", ".join(gains), rows)


def libraries(context, runner):
    program = context.programs / "bench_cuda_libraries"
    if not program.exists():
        yield Part("absent", "not built: that takes the headers of cuDNN and cuBLASLt")
        return
    # NVIDIA's Python packages have nvidia/cudnn/lib and nvidia/cu13/lib.
    folders = [path for folder in context.packages for path in sorted(glob.glob(f"{folder}/nvidia/*/lib"))]
    path = [os.environ.get("LD_LIBRARY_PATH"), *folders, *glob.glob("/usr/local/cuda/lib*")]
    done = runner.run([program], {"LD_LIBRARY_PATH": ":".join(filter(None, path))})
    rows = json_lines(done.output)
    missing = [row["missing"] for row in rows if "missing" in row]
    rows = [row for row in rows if "op" in row]
    compared = [row for row in rows if "agrees" in row]
    note = f"{len(rows)} cases, {sum(row['agrees'] for row in compared)} of {len(compared)} agree with NVIDIA's"
    if not rows:
        yield Part("failed", f"{done.verdict()} without a result")
        return
    yield Part(verdict_of([done]), note + "".join(f", no {name}" for name in missing), rows)


def torch_step(context, network, *options):
    return [context.python, context.scripts / "unet_torch.py", "--device", "cuda", "--config",
            context.config(network), "--batch", NETWORKS[network], "--mixed_precision", "bf16", "--channels_last",
            "--sdpa", "--fused", "--max_grad_norm", "1", "--threads", context.cores, *options]


def torch(context, runner):
    """Eager steps, single operations, then compiled steps. max-autotune compiles for minutes: that a step of these
    was not reached in time is told, and is no failure."""
    probe = runner.run([context.python, "-c", "import torch; print(torch.__version__, torch.cuda.is_available())"])
    if not probe.passed or not probe.output.strip().endswith("True"):
        yield Part("absent", f"{context.python} has no PyTorch with CUDA")
        return
    times = ("--warmup", "10", "--steps", "20", "--rounds", "5")
    version, done, rows, operations = probe.output.split()[0], [], [], []

    def part(verdict):
        note = ", ".join(milliseconds(f"{row['network']} {row['mode']}", row) for row in rows)
        return Part(verdict, f"{version}: {note}", {"version": version, "steps": rows, "operations": operations})

    for network in NETWORKS:
        done.append(runner.run(torch_step(context, network, *times)))
        rows.append({"mode": "eager", **named(network, done[-1])})
        yield part("running")
    cases = runner.run([context.programs / "bench_cuda_libraries", "--list"])
    done.append(runner.run([context.python, context.scripts / "torch_ops.py"], standard_input=cases.output,
                           seconds=max(30, runner.remaining() / 3)))
    operations += json_lines(done[-1].output)
    yield part("running")
    for network in NETWORKS:
        compiled = runner.run(torch_step(context, network, *times, "--compile"))
        rows.append({"mode": "compile", **named(network, compiled)})
        if compiled.code is not None:
            done.append(compiled)
        yield part("running")
    owed = [row for row in rows if row.get("problem") != "timed out" or row["mode"] == "eager"]
    yield part(verdict_of(done, owed))
