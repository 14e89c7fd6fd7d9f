#!/usr/bin/env python3
"""docs/performance.md and its plots, from the files of ./run bench in bench/results/.

    python3 bench/performance_page.py            # writes them
    python3 bench/performance_page.py --check    # exit code 1 if they are not what the files say
"""

import json
import sys

import comparison
import decoding
import generated
import kernels
import steps
import svg
import training
from machine import ROOT

RESULTS = ROOT / "bench/results"
IMAGES = "images/performance"

HEAD = """# How fast it is

Made by `python3 bench/performance_page.py` from the files of `./run bench` in [bench/results](../bench/results): change
those, not this page. Times are medians; a ratio is the other program's time by Imago's, round by round, with the least and
the largest in brackets: above 1, Imago is faster. Every program runs in a process of its own, in turns, with the same
threads and heap settings. "PyTorch default" is eager mode with nothing set; "PyTorch best" is the fastest on this machine of
channels_last, scaled_dot_product_attention, torch.compile and what they combine to, with AdamW(fused=True), as a first round
of one process each found it.
Nothing has been measured on a GPU yet.
"""


def ratio_plot(results):
    rows = []
    for row in results["steps"]:
        found = steps.ratios(row, "torch best")
        if found:
            rows.append((steps.title(row), found[len(found) // 2], found[0], found[-1]))
    return svg.bars("PyTorch's best setting by Imago: how many times as long a step takes", rows, "x", mark=1) if rows else ""


def batch_plot(results):
    points = {}
    for row in results["steps"]:
        if row["mode"] == "forward" and row["name"].startswith("6.8 M, head_dim 8"):
            precision = "float32" if row["precision"] == "no" else "bf16"
            points.setdefault(precision, []).append((row["batch"], 1e3 * steps.median(row, "imago") / row["batch"]))
    points = {name: p for name, p in points.items() if len(p) > 3}
    return svg.curves("Forward pass: milliseconds an image, against the batch", "images a batch", "ms", points) if points else ""


def whole_step_line(results):
    """The direct convolutions' FLOPs of a step over its time, held against the machine's limit."""
    fma = kernels.limit(results, "limit/fma")
    flops = sum(row["flops"] * row["per_step"] for row in results["kernels"]
                if row["program"] == "imago" and row["operation"].startswith("conv2d"))
    step = next((steps.median(row, "imago") for row in results["steps"]
                 if row["name"] == "6.8 M, head_dim 8" and row["mode"] == "train" and row["precision"] == "no"), None)
    if not fma or not flops or not step:
        return ""
    return (f"A float32 training step of the 6.8 M parameter U-Net holds {1e-9 * flops:.0f} GFLOP of convolutions, counted as "
            f"direct ones, in {1e3 * step:.0f} ms: {1e-9 * flops / step:.0f} GFLOP/s, {100 * flops / step / fma:.0f} % of the "
            f"machine's limit.\n")


def thread_line(results):
    """How much faster a training step is with all threads than with one."""
    def median_of(name):
        return next((steps.median(row, "imago") for row in results["steps"] if row["name"] == name
                     and row["mode"] == "train" and row["precision"] == "no"), None)

    one, all_threads = median_of(steps.ONE_THREAD), median_of("6.8 M, head_dim 8")
    return (f"With one thread it takes {1e3 * one:.0f} ms: {results['threads']} threads are {one / all_threads:.2f} times as "
            f"fast.\n") if one and all_threads else ""


def section(path, results):
    here = results["machine"]
    images = {f"{path.stem}_ratio.svg": ratio_plot(results), f"{path.stem}_batch.svg": batch_plot(results)}
    images = {name: image for name, image in images.items() if image}
    limits = [f"{1e-9 * kernels.limit(results, 'limit/fma'):.0f} GFLOP/s of multiply-adds"] \
        if kernels.limit(results, "limit/fma") else []
    if kernels.limit(results, "limit/copy"):
        limits.append(f"{1e-9 * kernels.limit(results, 'limit/copy'):.1f} GB/s of copies, read and written")
    noise = results["noise"]
    parts = [f"## {here['cpu']}, family {here['family']}, {results['threads']} threads\n",
             f"{results['date'][:10]}, Imago {results['commit']}; {here['logical_cpus']} logical CPUs, "
             f"{', '.join(here['features'])}; {here['system']}. `{results['command'].strip()}`, "
             f"[every sample](../bench/results/{path.name}).",
             f"Measured limits: {', '.join(limits)}. The first varied by {100 * noise:.0f} % during the run"
             + (": the machine was noisy." if noise > comparison.QUIET else ".")
             + (f" {results['note']}\n" if "note" in results else "\n"),
             "### Whole steps\n", steps.table(results)]
    parts += [f"![]({IMAGES}/{name})\n" for name in images]
    parts += [whole_step_line(results), thread_line(results), steps.memory_table(results)]
    if results.get("training"):
        parts += ["### Starting to train\n", training.table(results)]
    if results["decode"]:
        parts += ["### Decoding images, as many workers\n", decoding.table(results)]
    if results["kernels"]:
        parts += ["### Operations of a training step, float32, batch 16\n",
                  "By themselves, most expensive first. The last two columns: oneDNN used directly (weights already in its own "
                  "format, no bias or residual) and OpenBLAS behind im2col, as ratios.\n", kernels.table(results)]
    return "\n".join(part for part in parts if part), images


def pages():
    """{path: text} of all that is generated."""
    text, files = [HEAD], {}
    for path in sorted(RESULTS.glob("cpu_*.json")):
        words, images = section(path, json.loads(path.read_text(encoding="utf-8")))
        text.append(words)
        files.update({ROOT / "docs" / IMAGES / name: image for name, image in images.items()})
    return {ROOT / "docs/performance.md": "\n".join(text), **files}


if __name__ == "__main__":
    sys.exit(generated.main("performance_page", __doc__, pages()))
