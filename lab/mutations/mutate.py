#!/usr/bin/env python3
"""Deletes or weakens one synchronisation of the CUDA kernels at a time and sees whether the emulator notices.

  mutate.py list                      every mutant
  mutate.py run --build build         judge those that have no verdict yet, one after the other
  mutate.py sample --build build      judge a few small ones, for a test
  mutate.py report                    the table, from the verdicts so far

`run` keeps each verdict as it comes and goes on where it was ended; a mutant whose file has changed since is judged
again. It wants test_cuda_ops built, and with --tsan test_cuda_ops_tsan, which judges what six schedules let pass.
Exit code 0: every mutant judged is caught or explained; 1: one is not; 2: bad arguments.
"""

import argparse
import json
import pathlib
import sys
import time

from campaign import Build, judge
from mutants import Mutant, all_mutants

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# In kernels that compile in seconds and run in milliseconds.
SAMPLE = ("optimizer/optimizer.cu", "convolution/per_image_bias_grad.cu")


def parse():
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("list", "run", "sample", "report"))
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", metavar="DIR",
                        help="a finished build")
    parser.add_argument("--verdicts", type=pathlib.Path, default=HERE / "verdicts.jsonl", metavar="FILE",
                        help="where they are kept (default: beside this program)")
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants whose name contains this")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further one after so many")
    parser.add_argument("--tsan", action="store_true", help="what no schedule catches is run under TSan, too")
    return parser.parse_args()


def read_verdicts(path):
    """{digest: entry}; a last line that was cut off is passed over."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found[entry["digest"]] = entry
    return found


def explanations():
    """{file, line and change: why the emulator lets it pass}."""
    return json.loads((HERE / "explained.json").read_text(encoding="utf-8"))


def explained(mutant):
    return explanations().get(f"{mutant.path} {mutant.before} {mutant.change}", "")


def builds_of(options):
    folder = options.build.resolve()
    return [Build(folder, ROOT)] + ([Build(folder, ROOT, "tsan")] if options.tsan else [])


def run(options, mutants):
    verdicts, builds = read_verdicts(options.verdicts), builds_of(options)
    end = time.monotonic() + 60 * options.minutes
    for mutant in mutants:
        if mutant.digest in verdicts or time.monotonic() > end:
            continue
        start = time.monotonic()
        entry = {"digest": mutant.digest, "mutant": mutant.name, "verdict": judge(mutant, builds),
                 "seconds": round(time.monotonic() - start)}
        with options.verdicts.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        verdicts[mutant.digest] = entry
        print(f"{mutant.name}: {entry['verdict'] or 'NOT CAUGHT'}, {entry['seconds']} s", flush=True)
    judged = [mutant for mutant in mutants if mutant.digest in verdicts]
    return int(any(not verdicts[mutant.digest]["verdict"] and not explained(mutant) for mutant in judged))


def sample(options, mutants):
    """Also the file as it is, which must pass: or else all is caught whatever it does."""
    builds, failed = builds_of(options), False
    for path in SAMPLE:
        chosen = [mutant for mutant in mutants if mutant.path == path and "__syncthreads" in mutant.change][0]
        original = (ROOT / "kernels/cuda" / path).read_text(encoding="utf-8")
        control = judge(Mutant(path, 0, "nothing", "", original), builds)
        verdict = judge(chosen, builds)
        print(f"{path} as it is: {control or 'passes'}\n{chosen.name}: {verdict or 'NOT CAUGHT'}", flush=True)
        failed = failed or bool(control) or verdict in ("", "does not compile")
    return int(failed)


def report(options, mutants):
    verdicts = read_verdicts(options.verdicts)
    judged = [mutant for mutant in mutants if mutant.digest in verdicts]
    rows = [(mutant, verdicts[mutant.digest]["verdict"], explained(mutant)) for mutant in judged]
    caught = sum(bool(verdict) for _, verdict, _ in rows)
    print(f"# Mutants of the CUDA kernels\n\n{len(mutants)} mutants, {len(judged)} judged, {caught} caught, "
          f"{sum(bool(why) for _, verdict, why in rows if not verdict)} explained. Written by "
          "`lab/mutations/mutate.py report`.\n\n| line | mutant | verdict |\n|---|---|---|")
    for mutant, verdict, why in rows:
        cell = verdict or (f"explained: {why}" if why else "NOT CAUGHT")
        print(f"| {mutant.path}:{mutant.line} | {mutant.change} | {cell} |".replace("<", "&lt;"))
    return 0


def main():
    options = parse()
    mutants = [mutant for mutant in all_mutants(ROOT / "kernels/cuda") if options.only in mutant.name]
    if options.command == "list":
        print("\n".join(mutant.name for mutant in mutants))
        return 0
    if options.command == "report":
        return report(options, mutants)
    if not (options.build / "compile_commands.json").exists():
        print(f"mutate: --build {options.build}: expected a build folder with compile_commands.json",
              file=sys.stderr)
        return 2
    return (run if options.command == "run" else sample)(options, mutants)


if __name__ == "__main__":
    sys.exit(main())
