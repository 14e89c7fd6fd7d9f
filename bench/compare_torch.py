#!/usr/bin/env python3
"""Imago and PyTorch, side by side: whole training steps of the same U-Net on the CPU of this machine.

    python3 bench/compare_torch.py --python VENV/bin/python      # a Python that has torch

runs build/bin/bench_train_step and bench/unet_torch.py in turns (A B C A B C ...), each time in a fresh process with
the same number of threads and the same heap settings, for float32 and bf16 and for attention heads of 8 channels and
one head. PyTorch runs twice: with its default settings, and with the best of its eager settings on this machine
(channels_last, scaled_dot_product_attention, AdamW(fused=True)), which a first round finds. Prints a table and writes a
Markdown page to bench/results/.

A round's ratio compares neighbours in time, so a machine that is busy now and then disturbs the median little. It
still should be quiet: --max_load waits for it.
"""

import argparse
import datetime
import itertools
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

# PyTorch's tensors come from malloc, which by default gives memory back after every step and faults it in again, page
# by page. With these settings it keeps it, in huge pages: much faster, and what a careful user would set. Imago's own
# allocator does both by itself.
GLIBC_TUNABLES = ":".join((
    "glibc.malloc.hugetlb=1",
    "glibc.malloc.mmap_threshold=34359738368",
    "glibc.malloc.trim_threshold=34359738368",
    "glibc.malloc.top_pad=268435456",
    "glibc.malloc.arena_max=1",
))

VARIANTS = {  # PyTorch's eager settings
    "default": (),
    "sdpa": ("--sdpa", "--fused"),
    "channels_last": ("--channels_last", "--fused"),
    "channels_last + sdpa": ("--channels_last", "--sdpa", "--fused"),
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--python", default="python3", help="a Python that has torch (default: python3)")
    add("--imago", type=pathlib.Path, default=ROOT / "build/bin/bench_train_step", help="our program")
    add("--rounds", type=int, default=5, help="processes of each kind a configuration")
    add("--steps", type=int, default=4, help="timed steps a process")
    add("--warmup", type=int, default=2)
    add("--batch", type=int, default=16)
    add("--threads", type=int, default=2)
    add("--precisions", nargs="+", choices=("no", "bf16"), default=("no", "bf16"))
    add("--head_dims", nargs="+", type=int, default=(8, 0), help="0: one head")
    add("--infer", action="store_true", help="forward passes in place of training steps")
    add("--passive", action="store_true", help="OMP_WAIT_POLICY=PASSIVE for PyTorch too: on a busy machine")
    add("--max_load", type=float, help="wait for a load average of the last minute below this before every round")
    add("--output", type=pathlib.Path, help="the Markdown page (default: bench/results/train_step_HOST_CPU.md)")
    return parser.parse_args()


def environment(options, ours):
    env = dict(os.environ, GLIBC_TUNABLES=GLIBC_TUNABLES, OMP_NUM_THREADS=str(options.threads))
    if ours or options.passive:
        env["OMP_WAIT_POLICY"] = "PASSIVE"  # as `./run` sets it
    return env


def wait_for_quiet(options):
    while options.max_load is not None and os.getloadavg()[0] > options.max_load:
        print(f"load {os.getloadavg()[0]:.1f}, waiting for {options.max_load}", file=sys.stderr, flush=True)
        time.sleep(10)


def measure(options, command, ours, precision, head_dim):
    """One process: the JSON object that it prints."""
    arguments = [*command, "--batch", options.batch, "--threads", options.threads, "--steps", options.steps,
                 "--warmup", options.warmup, "--head_dim", head_dim, "--mixed_precision", precision]
    if options.infer:
        arguments.append("--infer")
    done = subprocess.run([str(a) for a in arguments], env=environment(options, ours), stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"compare_torch: {' '.join(map(str, arguments))} failed with code {done.returncode}")
    return json.loads(done.stdout.splitlines()[0])


def imago(options, precision, head_dim):
    return measure(options, [options.imago, "--json"], True, precision, head_dim)


def torch(options, variant, precision, head_dim):
    return measure(options, [options.python, HERE / "unet_torch.py", *VARIANTS[variant]], False, precision, head_dim)


def compare(options, precision, head_dim):
    """All rounds of one configuration."""
    wait_for_quiet(options)
    first = {variant: torch(options, variant, precision, head_dim) for variant in VARIANTS}
    best = min(list(VARIANTS)[1:], key=lambda variant: first[variant]["step_s_min"])
    rounds = []
    for i in range(options.rounds):
        wait_for_quiet(options)
        rounds.append({"imago": imago(options, precision, head_dim),
                       "default": torch(options, "default", precision, head_dim),
                       "best": torch(options, best, precision, head_dim)})
        ours, default, tuned = (rounds[-1][k]["step_s_median"] for k in ("imago", "default", "best"))
        print(f"{name_of(precision, head_dim)}, round {i + 1}: imago {ours:.3f} s, torch default {default:.3f} s, "
              f"{best} {tuned:.3f} s", file=sys.stderr, flush=True)
    counts = {r[k]["parameters"] for r in rounds for k in r}
    if len(counts) != 1:
        sys.exit(f"compare_torch: not the same network: {sorted(counts)} parameters")
    return {"precision": precision, "head_dim": head_dim, "best": best, "first": first, "rounds": rounds}


def name_of(precision, head_dim):
    return f"{'float32' if precision == 'no' else 'bf16'}, {f'head_dim {head_dim}' if head_dim else 'one head'}"


def summary(result):
    """Medians over the rounds; a ratio above 1 says that Imago is faster."""
    def median(of, key="step_s_median"):
        return statistics.median(r[of][key] for r in result["rounds"])

    def ratio(of):
        return statistics.median(r[of]["step_s_median"] / r["imago"]["step_s_median"] for r in result["rounds"])

    programs = ("imago", "default", "best")
    found = {"name": name_of(result["precision"], result["head_dim"]), "best_name": result["best"]}
    for of in programs:
        found[of] = median(of)
        found[f"{of}_ratio"] = ratio(of)
        found[f"{of}_memory"] = median(of, "peak_rss_mib")
        found[f"{of}_parts"] = [median(of, f"{part}_s") for part in ("forward", "backward", "optimizer", "cpu")]
    return found


def table(header, rows):
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ms(seconds):
    return f"{1000 * seconds:.0f}"


def speed_table(summaries):
    return table(
        ["", "Imago, ms", "PyTorch default, ms", "ratio", "PyTorch best, ms", "ratio", "its best setting"],
        [[s["name"], ms(s["imago"]), ms(s["default"]), f"{s['default_ratio']:.2f}", ms(s["best"]),
          f"{s['best_ratio']:.2f}", s["best_name"]] for s in summaries])


def parts_table(summaries):
    rows = [[f"{s['name']}: {title}", *map(ms, s[f"{of}_parts"]), f"{s[f'{of}_memory']:.0f}"]
            for s in summaries
            for of, title in (("imago", "Imago"), ("default", "PyTorch default"), ("best", f"PyTorch {s['best_name']}"))]
    return table(["medians, ms", "forward", "backward", "optimizer", "CPU time", "peak memory, MiB"], rows)


def variants_table(results):
    rows = [[name_of(r["precision"], r["head_dim"]), *(ms(r["first"][v]["step_s_min"]) for v in VARIANTS)]
            for r in results]
    return table(["fastest step of one process, ms", *VARIANTS], rows)


def cpu_name():
    try:
        info = pathlib.Path("/proc/cpuinfo").read_text()
        return re.search(r"model name\s*:\s*(.*)", info).group(1).strip()
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def cpu_features():
    try:
        flags = set(re.search(r"flags\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text()).group(1).split())
    except (OSError, AttributeError):
        return "unknown"
    known = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")
    return ", ".join(f for f in known if f in flags) or "none of " + ", ".join(known)


def revision():
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "unknown"


def page(options, results, load):
    summaries = [summary(r) for r in results]
    any_round = results[0]["rounds"][0]
    what = "forward passes" if options.infer else "training steps"
    return f"""# Whole {what}: Imago and PyTorch on {cpu_name()}

The U-Net of `bench/unet_torch.py` ({any_round['imago']['parameters']:,} parameters in both programs), 32x32 RGB, batch
{options.batch}, {options.threads} threads. Medians over {options.rounds} rounds, in each of which every program runs
once, in a process of its own ({options.warmup} steps to warm up, {options.steps} timed). A ratio is the median over the
rounds of PyTorch's time by Imago's: above 1, Imago is faster.

{speed_table(summaries)}

"PyTorch default" is eager mode with nothing set: NCHW, attention as matmul, softmax, matmul, AdamW(). "PyTorch best" is
the fastest of the settings in the last table, each with AdamW(fused=True).

{parts_table(summaries)}

{variants_table(results)}

- date: {datetime.date.today()}, load average of the last minute from {load[0]:.1f} to {load[1]:.1f} (these programs
  count for up to {options.threads})
- CPU: {cpu_name()}, {os.cpu_count()} logical CPUs, {cpu_features()}; {platform.system()} {platform.release()}
- versions: Imago {revision()}; {any_round['default']['program']}
- both heaps: `GLIBC_TUNABLES={GLIBC_TUNABLES}`; {'both' if options.passive else 'Imago'} with `OMP_WAIT_POLICY=PASSIVE`
- made by `bench/compare_torch.py {' '.join(sys.argv[1:])}`
"""


def main():
    options = parse()
    if not options.imago.exists():
        sys.exit(f"compare_torch: {options.imago}: not there; build it with ./run build")
    loads, results = [os.getloadavg()[0]], []
    for precision, head_dim in itertools.product(options.precisions, options.head_dims):
        results.append(compare(options, precision, head_dim))
        loads.append(os.getloadavg()[0])
    print(speed_table([summary(r) for r in results]))
    kind = "infer" if options.infer else "train_step"
    slug = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
    output = options.output or HERE / "results" / f"{kind}_{slug}.md"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(options, results, (min(loads), max(loads))))
    print(f"written: {output}", file=sys.stderr)


if __name__ == "__main__":
    main()
