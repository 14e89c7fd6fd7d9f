"""Two runs of ./run bench held against each other, and how noisy a machine was."""

import statistics

import kernels
import steps

QUIET = 0.10  # a machine whose own limit varies by more was noisy
LEAST = 0.05  # what is less than this slower is not worth a word, however steady


def spread(samples):
    """Half of the distance between the smallest and the largest, by the median."""
    return (max(samples) - min(samples)) / 2 / statistics.median(samples) if len(samples) > 1 else 0.0


def noise_of(limits):
    """How far the machine's own limit for multiply-adds varied during the run: 0.1 is a tenth from least to most."""
    samples = [s for row in limits if row["name"] == "limit/fma" for s in row["samples"]]
    return (max(samples) - min(samples)) / statistics.median(samples) if samples else 0.0


def samples_by_name(results):
    """Times of our own: {name: samples}."""
    found = {row["operation"]: row["samples"] for row in results["kernels"] if row["program"] == "imago"}
    for row in results["steps"]:
        found[steps.title(row)] = [r["imago"]["step_s_median"] for r in row["rounds"]]
    for row in results.get("decode", []):
        found[row["name"]] = [r["imago"] for r in row["rounds"]]
    for row in results.get("training", []):
        found[f"{row['name']}: to the first step"] = [r["start_s"] for r in row["rounds"]]
    return found


def compare(before, after):
    """(whether something got slower, what to print). Slower is what lost more than 5 % and more than both spreads."""
    old, new = samples_by_name(before), samples_by_name(after)
    common = [name for name in new if name in old]
    lines, slower = [], 0
    for name in common:
        ratio = statistics.median(new[name]) / statistics.median(old[name])
        noise = max(LEAST, spread(old[name]) + spread(new[name]))
        if ratio > 1 + noise or ratio < 1 / (1 + noise):
            slower += ratio > 1
            word = "SLOWER" if ratio > 1 else "faster"
            lines.append((ratio, f"{word} {name}: {1e3 * statistics.median(old[name]):.3f} ms -> "
                                 f"{1e3 * statistics.median(new[name]):.3f} ms, x {ratio:.2f} (noise {100 * noise:.0f} %)"))
    text = [line for _, line in sorted(lines, reverse=True)]
    text.append(f"{len(common)} figures in both files, {slower} slower beyond the noise")
    if kernels.limit(before, "limit/fma") and kernels.limit(after, "limit/fma"):
        change = kernels.limit(after, "limit/fma") / kernels.limit(before, "limit/fma")
        text.append(f"the machine's own limit: x {change:.2f} of what it was then")
    return slower > 0, "\n".join(text)
