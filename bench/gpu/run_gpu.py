#!/usr/bin/env python3
"""All that a machine with an NVIDIA GPU can tell about Imago, the most important first.

In this order, each part within its own time: the conformance of the PTX wrappers (conformance), the op table
(rows), the same with every other choice among the kernels (variants), whole training steps (steps), Nsight Compute
on the longest kernels (ncu), the cost model's constants (constants), steps with the autotuner off and on
(autotuner), compute-sanitizer (sanitizer), kernels beside cuDNN and cuBLASLt (libraries), the same in PyTorch
(torch). Writes results.json, summary.md and four logs, after every single result: a run that is killed leaves what
it has.

Exit code 0: all passed (or was absent: a library, a tool, PyTorch); 1: something failed or ran out of time; 2: bad
arguments; 3: there is no GPU.
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from part import Context, Part
from plan import PLAN
from process import Runner
from summary import page, parts_table, steps_table

BENCH = pathlib.Path(__file__).resolve().parent.parent
ROOT = BENCH.parent


class Parser(argparse.ArgumentParser):
    def error(self, message):  # one line, without the usage
        self.exit(2, f"{self.prog}: {message}\n")


class Interrupted(Exception):
    """The run was told to end."""


def parse():
    parser = Parser(prog="gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    programs = ROOT / "bin" if (ROOT / "bin").is_dir() else ROOT / "build-gpu/bin"
    names = [plan.name for plan in PLAN]
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("gpu_results"), metavar="DIR",
                        help="where the files go (default: gpu_results)")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=names, metavar="PART,...",
                        help=f"run these: {', '.join(names)}")
    parser.add_argument("--minutes", type=float, default=sum(plan.seconds for plan in PLAN) / 60,
                        help="for everything; parts share less in proportion (default: each has its own limit)")
    parser.add_argument("--python", default=sys.executable, help="a Python that has PyTorch (default: this one)")
    parser.add_argument("--programs", type=pathlib.Path, default=programs, metavar="DIR",
                        help="the folder of the programs that are run")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in names]
    if unknown:
        parser.error(f"--parts {','.join(unknown)}: expected some of {', '.join(names)}")
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


class Results:
    """What is known, in memory and in files. A file is replaced as a whole, and never by half a one."""

    def __init__(self, folder, facts, cache):
        self.folder, self.cache = folder, pathlib.Path(cache)
        self.facts = {**facts, "parts": []}
        self.complete = True  # as far as the files go

    def save(self):
        self.facts["autotuner"] = {path.name: path.read_text(encoding="utf-8", errors="replace")
                                   for path in sorted(self.cache.iterdir()) if path.is_file()}
        self.write("results.json", json.dumps(self.facts, indent=1))
        self.write("summary.md", page(self.facts))

    def write(self, name, text):
        begun = self.folder / f"{name}.begun"
        try:
            begun.write_text(text, encoding="utf-8")
            os.replace(begun, self.folder / name)
        except OSError as error:
            if self.complete:
                print(f"gpu: {self.folder / name}: {error.strerror}; the run goes on", file=sys.stderr,
                      flush=True)
            self.complete = False
            begun.unlink(missing_ok=True)


def run_part(plan, context, results, deadline):
    start = time.monotonic()
    print(f"== {plan.name}: {plan.what}, at most {deadline - start:.0f} s", flush=True)
    entry = {"name": plan.name, "verdict": "running", "seconds": 0, "note": "", "data": None}
    results.facts["parts"].append(entry)
    runner = Runner(results.folder / plan.log, deadline, {"IMAGO_CACHE_DIR": str(results.cache)})

    def learn(part):
        entry.update(verdict=part.verdict, seconds=time.monotonic() - start, note=part.note, data=part.data)
        results.save()

    try:
        for part in plan.run(context, runner):
            learn(part)
    except Interrupted:
        runner.stop()
        learn(Part("interrupted", entry["note"], entry["data"]))
        raise
    except Exception as error:  # the parts behind this one still run
        runner.stop()
        learn(Part("failed", f"{type(error).__name__}: {error}", entry["data"]))
    print(f"   {entry['verdict']} in {entry['seconds']:.0f} s: {entry['note']}", flush=True)


def run_parts(options, context, results):
    chosen = [plan for plan in PLAN if plan.name in options.parts]
    share = min(1, 60 * options.minutes / sum(plan.seconds for plan in chosen))
    end = time.monotonic() + 60 * options.minutes
    for i, plan in enumerate(chosen):
        reserved = sum(later.seconds for later in chosen[i + 1 :]) * share
        run_part(plan, context, results, min(end - reserved, time.monotonic() + plan.seconds))


ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def interrupt(signal_number, frame):
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted


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
    facts = {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "version": version(),
             "gpu": gpu, "cores": context.cores,
             "driver": ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0]
             or f"for CUDA {gpu['driver_cuda'] // 1000}.{gpu['driver_cuda'] % 1000 // 10}"}
    for number in ENDING:
        signal.signal(number, interrupt)
    with tempfile.TemporaryDirectory() as cache:  # of the autotuner: a run does not depend on those before
        results = Results(options.output, facts, cache)
        try:
            run_parts(options, context, results)
        except Interrupted:
            print("gpu: interrupted; what was found is kept", file=sys.stderr, flush=True)
    print(f"\n{parts_table(results.facts)}\n\n{steps_table(results.facts)}\n")
    print(f"all of it: {options.output / 'summary.md'}")
    passed = all(part["verdict"] in ("passed", "absent") for part in results.facts["parts"])
    return int(not (passed and results.complete))


if __name__ == "__main__":
    sys.exit(main())
