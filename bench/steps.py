"""Part `steps` of ./run bench: whole training steps and forward passes, Imago and PyTorch in turns."""

import dataclasses
import json
import os
import statistics
import sys
import time

import machine
from tables import markdown

BENCH = machine.ROOT / "bench"

VARIANTS = {  # PyTorch's settings
    "default": (),
    "sdpa": ("--sdpa", "--fused"),
    "channels_last": ("--channels_last", "--fused"),
    "channels_last + sdpa": ("--channels_last", "--sdpa", "--fused"),
    "compile": ("--compile", "default", "--sdpa", "--fused"),
    "compile + channels_last": ("--compile", "default", "--channels_last", "--sdpa", "--fused"),
}


ONE_THREAD = "6.8 M, head_dim 8, 1 thread"


@dataclasses.dataclass
class Configuration:
    name: str
    arguments: list
    mode: str = "train"  # or forward
    batch: int = 16
    precision: str = "no"
    steps: int = 4
    opponents: bool = True
    threads: int | None = None  # default: as many as the run has

    def words(self, threads):
        threads = self.threads or threads
        forward = ["--infer"] if self.mode == "forward" else []
        return [*self.arguments, "--batch", self.batch, "--mixed_precision", self.precision, "--threads", threads,
                "--steps", self.steps, "--warmup", 2, *forward]

    def title(self):
        return f"{self.mode}, {self.name}, batch {self.batch}, {'float32' if self.precision == 'no' else 'bf16'}"


def configurations(options):
    small = {"6.8 M, head_dim 8": ["--head_dim", 8], "6.8 M, one head": ["--head_dim", 0]}
    large = {"butterflies-32, 18.5 M": ["--config", BENCH / "configs/butterflies_32.json"],
             "ddpm-cifar10-32, 35.7 M": ["--config", BENCH / "configs/ddpm_cifar10_32.json"]}
    found = []
    for precision in ("no",) if options.quick else ("no", "bf16"):
        for name, arguments in small.items():
            found.append(Configuration(name, arguments, precision=precision))
            found.append(Configuration(name, arguments, "forward", 16, precision, steps=8))
            found.append(Configuration(name, arguments, "forward", 1, precision, steps=40))
    if not options.quick:
        for name, arguments in large.items():
            found.append(Configuration(name, arguments, batch=8))
        found.append(Configuration(ONE_THREAD, small["6.8 M, head_dim 8"], opponents=False, threads=1))
        for batch in (2, 4, 8, 32, 64):  # the time an image, against the batch
            found.append(Configuration("6.8 M, head_dim 8", small["6.8 M, head_dim 8"], "forward", batch,
                                       steps=max(4, 64 // batch), opponents=False))
    return [c for c in found if options.only in c.title()]


def wait_for_quiet(options):
    while options.max_load is not None and os.getloadavg()[0] > options.max_load:
        print(f"load {os.getloadavg()[0]:.1f}, waiting for {options.max_load}", file=sys.stderr, flush=True)
        time.sleep(10)


def imago(options, configuration):
    words = [options.programs / "bench_train_step", "--json", *configuration.words(options.threads)]
    threads = configuration.threads or options.threads
    return json.loads(machine.run(words, threads, passive=True).splitlines()[0])


def torch(options, configuration, variant):
    words = [options.python, BENCH / "unet_torch.py", *VARIANTS[variant], *configuration.words(options.threads)]
    return json.loads(machine.run(words, options.threads, passive=False).splitlines()[0])


def sample(found):
    kept = ("step_s_median", "step_s_min", "step_s_max", "cpu_s", "peak_rss_mib", "parameters", "program")
    return {key: found[key] for key in kept if key in found}


def limit_now(options):
    rows = machine.benchmark_rows(options.programs / "bench_kernels",
                                  ["--benchmark_filter=limit/fma", "--benchmark_min_time=0.1"], options.threads)
    return rows[0]["FLOP/s"]


def measure_one(options, configuration, limit):
    """All rounds of a configuration. A first round finds PyTorch's best setting, which then runs beside its default."""
    first, best = {}, None
    if options.python and configuration.opponents:
        first = {variant: sample(torch(options, configuration, variant)) for variant in VARIANTS}
        best = min((v for v in VARIANTS if v != "default"), key=lambda v: first[v]["step_s_min"])
    rounds = []
    for i in range(options.rounds):
        wait_for_quiet(options)
        one = {"imago": sample(imago(options, configuration))}
        if best:
            one["torch default"] = sample(torch(options, configuration, "default"))
            one["torch best"] = sample(torch(options, configuration, best))
        counts = {entry["parameters"] for entry in one.values()}
        if len(counts) != 1:
            raise machine.Failure(f"{configuration.title()}: not the same network: {sorted(counts)} parameters")
        limit["samples"].append(limit_now(options))
        rounds.append(one)
        times = ", ".join(f"{who} {entry['step_s_median']:.4f} s" for who, entry in one.items())
        print(f"   {configuration.title()}, round {i + 1}: {times}", file=sys.stderr, flush=True)
    return {"name": configuration.name, "mode": configuration.mode, "batch": configuration.batch,
            "precision": configuration.precision, "threads": configuration.threads or options.threads, "best": best, "settings": first,
            "rounds": rounds}


def measure(options):
    """A row a configuration, and the machine's limit as it was after every round."""
    limit = {"name": "limit/fma", "rate": "FLOP/s", "samples": [limit_now(options)]}
    chosen = configurations(options)
    print(f"== steps: {len(chosen)} configurations, {options.rounds} rounds", file=sys.stderr, flush=True)
    return [measure_one(options, c, limit) for c in chosen], [limit]


def median(row, who, key="step_s_median"):
    values = [r[who][key] for r in row["rounds"] if who in r]
    return statistics.median(values) if values else None


def ratios(row, who):
    """Of every round, how many times as long the other program took; sorted."""
    return sorted(r[who]["step_s_median"] / r["imago"]["step_s_median"] for r in row["rounds"] if who in r)


def ratio_text(row, who):
    found = ratios(row, who)
    return f"{statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})" if found else ""


def title(row):
    return f"{row['mode']}, {row['name']}, batch {row['batch']}, {'float32' if row['precision'] == 'no' else 'bf16'}"


def table(results):
    def ms(row, who):
        value = median(row, who)
        return "" if value is None else f"{1e3 * value:.1f}"

    rows = [[title(row), ms(row, "imago"), ms(row, "torch default"), ratio_text(row, "torch default"),
             ms(row, "torch best"), ratio_text(row, "torch best"), row["best"] or ""] for row in results["steps"]]
    return markdown(["whole steps, medians", "Imago, ms", "PyTorch default, ms", "ratio", "PyTorch best, ms", "ratio",
                     "its best setting"], rows)


def memory_table(results):
    rows = []
    for row in results["steps"]:
        ours, theirs = median(row, "imago", "peak_rss_mib"), median(row, "torch best", "peak_rss_mib")
        if theirs:
            rows.append([title(row), f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.2f}"])
    return markdown(["peak memory of the process, MiB", "Imago", "PyTorch best", "Imago by PyTorch"], rows)
