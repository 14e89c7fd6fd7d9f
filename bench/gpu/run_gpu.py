#!/usr/bin/env python3
"""All that a machine with an NVIDIA GPU can tell about Imago, in one run of a few minutes.

In this order, each part within its share of the time: the conformance of the PTX wrappers (conformance), the op
table (ops), compute-sanitizer (sanitizer), whole training steps (steps), kernels beside cuDNN and cuBLASLt
(libraries), the same in PyTorch (torch). What a part leaves of its time goes to those behind it. Writes
results.json, summary.md and up to four logs, and prints the tables.

Exit code 0: all passed (or was absent: a library, PyTorch); 1: something failed or ran out of time; 2: bad
arguments; 3: there is no GPU.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from parts import PLAN, Context, Part
from process import Runner
from summary import page, parts_table, steps_table

BENCH = pathlib.Path(__file__).resolve().parent.parent
ROOT = BENCH.parent


class Parser(argparse.ArgumentParser):
    def error(self, message):  # one line, without the usage
        self.exit(2, f"{self.prog}: {message}\n")


def parse():
    parser = Parser(prog="gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    programs = ROOT / "bin" if (ROOT / "bin").is_dir() else ROOT / "build-gpu/bin"
    names = [plan.name for plan in PLAN]
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("gpu_results"), metavar="DIR",
                        help="where the files go (default: gpu_results)")
    parser.add_argument("--only", type=lambda text: text.split(","), default=names, metavar="PART,...",
                        help=f"run these parts: {', '.join(names)}")
    parser.add_argument("--minutes", type=float, default=8, help="for everything (default: 8)")
    parser.add_argument("--python", default=sys.executable, help="a Python that has PyTorch (default: this one)")
    parser.add_argument("--programs", type=pathlib.Path, default=programs, metavar="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.only if name not in names]
    if unknown:
        parser.error(f"--only {','.join(unknown)}: expected some of {', '.join(names)}")
    if options.minutes <= 0:
        parser.error(f"--minutes {options.minutes}: expected a number above 0")
    return options


def ask(*command):
    """What a program prints, or nothing."""
    try:
        return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def find_gpu(programs):
    """What gpu_info says of the GPU. Ends the program where there is none."""
    try:
        done = subprocess.run([str(programs / "gpu_info")], stdout=subprocess.PIPE, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"gpu: {error}", file=sys.stderr)
        sys.exit(2)
    if done.returncode != 0:
        print(f"gpu: {done.stdout.strip() or 'gpu_info failed'}", file=sys.stderr)
        sys.exit(3 if done.returncode == 3 else 1)
    return json.loads(done.stdout)


def version():
    packed = ROOT / "VERSION"
    if packed.exists():
        return packed.read_text(encoding="utf-8").strip()
    return ask("git", "-C", ROOT, "describe", "--always", "--dirty") or "unknown"


def run_part(plan, context, output, deadline, cache):
    start = time.monotonic()
    print(f"== {plan.name}: {plan.what}, at most {deadline - start:.0f} s", flush=True)
    try:
        part = plan.run(context, Runner(output / plan.log, deadline, {"IMAGO_CACHE_DIR": cache}))
    except Exception as error:  # the parts behind this one still run
        part = Part("failed", f"{type(error).__name__}: {error}")
    seconds = time.monotonic() - start
    print(f"   {part.verdict} in {seconds:.0f} s: {part.note}", flush=True)
    return {"name": plan.name, "verdict": part.verdict, "seconds": seconds, "note": part.note, "data": part.data}


def main():
    options = parse()
    gpu = find_gpu(options.programs)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        for plan in PLAN:
            (options.output / plan.log).write_text("", encoding="utf-8")
    except OSError as error:
        print(f"gpu: --output {options.output}: {error.strerror}", file=sys.stderr)
        return 2
    packages = ask(options.python, "-c", "import sys; print(*filter(None, sys.path), sep='\\n')").splitlines()
    context = Context(options.programs.resolve(), BENCH, gpu, options.python, packages)
    results = {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "version": version(),
               "gpu": gpu, "cores": context.cores, "parts": [],
               "driver": ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0]
               or f"for CUDA {gpu['driver_cuda'] // 1000}.{gpu['driver_cuda'] % 1000 // 10}"}
    end = time.monotonic() + 60 * options.minutes
    chosen = [plan for plan in PLAN if plan.name in options.only]
    with tempfile.TemporaryDirectory() as cache:  # of the autotuner: a run does not depend on those before
        for i, plan in enumerate(chosen):
            reserved = sum(later.seconds for later in chosen[i + 1 :]) * options.minutes / 8
            results["parts"].append(run_part(plan, context, options.output, end - reserved, cache))
            results["autotuner"] = {path.name: path.read_text(encoding="utf-8", errors="replace")
                                    for path in sorted(pathlib.Path(cache).iterdir()) if path.is_file()}
            # After every part: a run that is killed leaves what it has.
            (options.output / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (options.output / "summary.md").write_text(page(results), encoding="utf-8")
    print(f"\n{parts_table(results)}\n\n{steps_table(results)}\n\nall of it: {options.output / 'summary.md'}")
    return int(any(part["verdict"] not in ("passed", "absent") for part in results["parts"]))


if __name__ == "__main__":
    sys.exit(main())
