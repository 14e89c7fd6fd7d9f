#!/usr/bin/env python3
"""How fast Imago is on the CPU of this machine, and how fast others are on it, in one run.

Four parts. `kernels`: every operation of a U-Net's training step by itself, beside what the machine can do at most
(multiply-adds, copies) and beside oneDNN and OpenBLAS. `steps`: whole training steps and forward passes of several
U-Nets, each program in a process of its own, in turns with PyTorch (A B C A B C ...) where --python has it.
`decode`: image files to pixels, in turns with Pillow, where --python is given. `training`: train_ddpm's time to its
first step, and the memory it takes beside what --plan said. Writes one JSON file: bench/results/ has
those that docs/performance.md is made of (bench/performance_page.py).

Exit code 0; 1 if --against FILE found something slower than there, beyond the noise of both runs, or a program failed;
2: bad arguments.
"""

import argparse
import json
import os
import pathlib
import sys

import comparison
import decoding
import kernels
import machine
import steps
import training

ROOT = machine.ROOT
PARTS = ("kernels", "steps", "decode", "training")


class Parser(argparse.ArgumentParser):
    def error(self, message):  # one line, without the usage
        self.exit(2, f"{self.prog}: {message}\n")


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return value


def parse():
    parser = Parser(prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--parts", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,...",
        help=f"some of {', '.join(PARTS)}")
    add("--quick", action="store_true", help="fewer and shorter repetitions, the smallest U-Net alone: minutes")
    add("--rounds", type=positive, help="processes of each kind a configuration (default: 5; with --quick 3)")
    add("--threads", type=positive, default=os.cpu_count(), help="default: as many as there are processors")
    add("--python", help="a Python that has PyTorch and Pillow; without it, only Imago runs")
    add("--only", default="", metavar="TEXT", help="steps: only the configurations whose name contains this")
    add("--operations", default=".", metavar="REGEX", help="kernels: only the operations whose name this matches")
    add("--max_load", type=float, help="before every round, wait for a load average of the last minute below this")
    add("--against", type=pathlib.Path, metavar="FILE", help="compare with this file of an earlier run")
    add("--output", type=pathlib.Path, metavar="FILE", help="default: bench/results/cpu_<this machine>.json")
    add("--programs", type=pathlib.Path, default=ROOT / "build/bin", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"--parts {','.join(unknown)}: expected some of {', '.join(PARTS)}")
    options.rounds = options.rounds or (3 if options.quick else 5)
    return parser, options


def read_results(parser, path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["machine"], found["kernels"], found["steps"]
        return found
    except OSError as error:
        parser.error(f"--against {path}: {error.strerror}")
    except (ValueError, KeyError, TypeError):
        parser.error(f"--against {path}: expected a file that this program wrote")


def write_results(path, results):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def main():
    parser, options = parse()
    earlier = read_results(parser, options.against) if options.against else None
    here = machine.describe()
    output = options.output or ROOT / f"bench/results/cpu_{machine.slug(here)}.json"
    results = {"date": machine.now(), "commit": machine.revision(), "command": "./run bench " + " ".join(sys.argv[1:]),
               "machine": here, "threads": options.threads, "limits": [], "kernels": [], "steps": [],
               "decode": [], "training": []}
    try:
        if "kernels" in options.parts:
            results["kernels"], limits = kernels.measure(options)
            results["limits"] += limits
        if "steps" in options.parts:
            results["steps"], limits = steps.measure(options)
            results["limits"] += limits
        if "decode" in options.parts:
            results["decode"] = decoding.measure(options)
        if "training" in options.parts:
            results["training"] = training.measure(options)
        results["noise"] = comparison.noise_of(results["limits"])
        write_results(output, results)
    except machine.Failure as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bench: --output {output}: {error.strerror}", file=sys.stderr)
        return 2
    print(kernels.table(results))
    print(steps.table(results))
    print(decoding.table(results))
    print(training.table(results))
    print(f"written: {output}")
    if results["noise"] > comparison.QUIET:
        print(f"bench: the machine was noisy: its own limit varied by {100 * results['noise']:.0f} %", file=sys.stderr)
    if earlier is None:
        return 0
    slower, text = comparison.compare(earlier, results)
    print(text)
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
