"""The parts of a GPU run. Each takes a Context and a Runner with its time limit, and returns a Part."""

import dataclasses
import glob
import json
import os
import pathlib
import re
import shutil

NETWORKS = {  # bench/configs: images a step
    "ddpm_cifar10_32": 128,  # google/ddpm-cifar10-32
    "guided_64": 32,
    "butterflies_32": 64,
}

# What the sanitizer looks at: every family of kernels once, in small cases.
SANITIZED = ("conv2d", "conv2d_dgrad", "conv2d_wgrad", "per_image_bias_grad", "group_norm",
             "group_norm_backward", "attention", "attention_backward", "adamw", "norm")

# Several programs at once: no spinning, and nothing is measured for the autotuner.
BESIDE_OTHERS = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "IMAGO_AUTOTUNE": "off"}


@dataclasses.dataclass
class Context:
    programs: pathlib.Path
    scripts: pathlib.Path  # bench/
    gpu: dict  # what gpu_info says
    python: str  # that may have torch
    packages: list  # the folders in which it looks for packages
    cores: int = os.cpu_count() or 1

    def config(self, network):
        return self.scripts / "configs" / f"{network}.json"


@dataclasses.dataclass
class Part:
    verdict: str  # passed, failed, timed out, absent
    note: str  # one line for the table
    data: object = None  # for results.json


def verdict_of(finished: list, rows: list = ()) -> str:
    """Of programs and of the rows that they owe."""
    if any(f.code not in (0, None) for f in finished):
        return "failed"
    if any(f.code is None for f in finished):
        return "timed out"
    return "failed" if any("problem" in row for row in rows) else "passed"


def json_lines(text: str) -> list:
    """The JSON objects in a program's output; other lines, and one that was cut off, are passed over."""
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def conformance(context, runner):
    done = runner.run([context.programs / "ptx_conformance"])
    *cases, last = done.output.splitlines() or ["no output"]
    rows = [dict(zip(("wrapper", "verdict"), re.split(r"\s{2,}|\s(?=DIFFERS|FAILS)", line, maxsplit=1)))
            for line in cases]
    bad = [row["wrapper"] for row in rows if row.get("verdict", "").startswith(("DIFFERS", "FAILS"))]
    return Part(verdict_of([done]), last + (": not " + ", ".join(bad) if bad else ""), rows)


def op_tests(context, runner):
    """The names of the op table's tests, the long ones first."""
    done = runner.run([context.programs / "test_gpu_ops", "--gtest_list_tests", "--gtest_filter=OpTable.*"])
    names = re.findall(r"^  (\S+)", done.output, re.MULTILINE)
    return sorted(names, key=lambda name: not re.search("conv2d|attention", name))


def op_table(context, runner):
    """A process a test: one that breaks the GPU's context takes no other with it."""
    tests = op_tests(context, runner)
    if not tests:
        return Part("failed", "test_gpu_ops lists no tests")
    at_once = min(context.cores, max(1, context.gpu["memory_mib"] // 2048))
    commands = [[context.programs / "test_gpu_ops", "--gtest_brief=1", f"--gtest_filter=OpTable.{test}"]
                for test in tests]
    done = runner.run_all(commands, at_once, BESIDE_OTHERS)
    rows = [{"test": test.split("/")[-1], "verdict": f.verdict(), "seconds": round(f.seconds, 2)}
            for test, f in zip(tests, done)]
    bad = [row["test"] for row in rows if row["verdict"] != "passed"]
    note = f"{len(rows) - len(bad)} of {len(rows)} operations and types pass"
    return Part(verdict_of(done), note + (": not " + ", ".join(bad) if bad else ""), rows)


def find_sanitizer(context):
    """compute-sanitizer on the path, in a CUDA toolkit, or in NVIDIA's Python packages."""
    folders = [f"{folder}/nvidia/*/bin" for folder in context.packages]
    patterns = ["/usr/local/cuda*/bin", "/usr/local/cuda*/compute-sanitizer", *folders]
    candidates = [shutil.which("compute-sanitizer")]
    candidates += [path for pattern in patterns for path in sorted(glob.glob(f"{pattern}/compute-sanitizer"))]
    return next((path for path in candidates if path and os.access(path, os.X_OK)), None)


def is_of(test, op):
    """Whether a test of the op table is of an operation, in the type that training has it in, on any backend."""
    training = "float32" if op in ("adamw", "norm") else "bfloat16"
    return re.search(rf"/cuda(_sm_\d+_x\d+)?_{op}_{training}$", test) is not None


def sanitizer(context, runner):
    tool = find_sanitizer(context)
    if tool is None:
        return Part("absent", "compute-sanitizer not found")
    tests = op_tests(context, runner)
    checks = [(check, op) for op in SANITIZED for check in ("memcheck", "racecheck")]
    commands = [[tool, "--tool", check, "--error-exitcode", "9", "--print-limit", "20",
                 context.programs / "test_gpu_ops", "--small_only", "--gtest_brief=1",
                 "--gtest_filter=" + ":".join(f"OpTable.{test}" for test in tests if is_of(test, op))]
                for check, op in checks]
    at_once = min(context.cores // 2, max(1, context.gpu["memory_mib"] // 4096))
    done = runner.run_all(commands, at_once, BESIDE_OTHERS)
    rows = [{"check": check, "operation": op, "verdict": f.verdict(), "seconds": round(f.seconds, 2)}
            for (check, op), f in zip(checks, done)]
    bad = [f"{row['check']} of {row['operation']}" for row in rows if row["verdict"] != "passed"]
    note = f"{len(rows) - len(bad)} of {len(rows)} checks pass"
    return Part(verdict_of(done), note + (": not " + ", ".join(bad) if bad else ""), rows)


def train_step(context, network, *options):
    return [context.programs / "bench_train_step", "--trainer", "--json", "--device", "cuda",
            "--config", context.config(network), "--batch", NETWORKS[network], "--mixed_precision", "bf16",
            "--threads", context.cores, *options]


def named(network, finished):
    """The row that a program printed of a network, or why there is none."""
    rows = json_lines(finished.output)
    problem = "gave no result" if finished.passed else finished.verdict()
    return {"network": network, **(rows[0] if rows else {"problem": problem})}


def milliseconds(name, row):
    return f"{name} {1000 * row['step_s_median']:.2f} ms" if "step_s_median" in row else f"{name} {row['problem']}"


def steps(context, runner):
    done = [runner.run(train_step(context, n, "--warmup", 20, "--steps", 30, "--rounds", 5)) for n in NETWORKS]
    rows = [named(n, f) for n, f in zip(NETWORKS, done)]
    profiled = [runner.run(train_step(context, n, "--warmup", 3, "--steps", 5, "--profile")) for n in NETWORKS]
    for row, finished in zip(rows, profiled):
        row["profile"] = named("", finished).get("profile", [])
    note = ", ".join(milliseconds(row["network"], row) for row in rows)
    return Part(verdict_of(done + profiled, rows), note, rows)


def libraries(context, runner):
    program = context.programs / "bench_cuda_libraries"
    if not program.exists():
        return Part("absent", "not built: that takes the headers of cuDNN and cuBLASLt")
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
        return Part("failed", f"{done.verdict()} without a result")
    return Part(verdict_of([done]), note + "".join(f", no {name}" for name in missing), rows)


def torch_step(context, network, *options):
    return [context.python, context.scripts / "unet_torch.py", "--device", "cuda", "--config",
            context.config(network), "--batch", NETWORKS[network], "--mixed_precision", "bf16", "--channels_last",
            "--sdpa", "--fused", "--max_grad_norm", "1", "--threads", context.cores, *options]


def torch(context, runner):
    """Eager steps, single operations, then compiled steps. max-autotune compiles for minutes: that a step of these
    was not reached in time is told, and is no failure."""
    probe = runner.run([context.python, "-c", "import torch; print(torch.__version__, torch.cuda.is_available())"])
    if not probe.passed or not probe.output.strip().endswith("True"):
        return Part("absent", f"{context.python} has no PyTorch with CUDA")
    times = ("--warmup", "10", "--steps", "20", "--rounds", "5")
    done, rows = [], []
    for network in NETWORKS:
        done.append(runner.run(torch_step(context, network, *times)))
        rows.append({"mode": "eager", **named(network, done[-1])})
    cases = runner.run([context.programs / "bench_cuda_libraries", "--list"])
    done.append(runner.run([context.python, context.scripts / "torch_ops.py"], standard_input=cases.output,
                           seconds=max(30, runner.remaining() / 3)))
    operations = json_lines(done[-1].output)
    for network in NETWORKS:
        compiled = runner.run(torch_step(context, network, *times, "--compile"))
        rows.append({"mode": "compile", **named(network, compiled)})
        if compiled.code is not None:
            done.append(compiled)
    note = ", ".join(milliseconds(f"{row['network']} {row['mode']}", row) for row in rows)
    owed = [row for row in rows if row.get("problem") != "timed out" or row["mode"] == "eager"]
    return Part(verdict_of(done, owed), f"{probe.output.split()[0]}: {note}",
                {"version": probe.output.split()[0], "steps": rows, "operations": operations})


@dataclasses.dataclass
class Plan:
    name: str
    run: object  # the function
    seconds: float  # of a run of 8 minutes; what a part leaves goes to those behind it
    log: str
    what: str


PLAN = (
    Plan("conformance", conformance, 20, "conformance_and_ops.log", "every PTX wrapper against its host body"),
    Plan("ops", op_table, 90, "conformance_and_ops.log", "the op table against the reference"),
    Plan("sanitizer", sanitizer, 60, "sanitizer.log", "memcheck and racecheck of small cases"),
    Plan("steps", steps, 75, "bench.log", "whole training steps in bfloat16"),
    Plan("libraries", libraries, 75, "bench.log", "kernels beside cuDNN and cuBLASLt"),
    Plan("torch", torch, 150, "torch.log", "the same steps and operations in PyTorch"),
)
