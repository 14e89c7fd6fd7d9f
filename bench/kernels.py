"""Part `kernels` of ./run bench: what bench_kernels measures, as rows, and their table."""

import statistics
import sys

import machine
from tables import markdown

OPPONENTS = ("onednn", "openblas")
SUFFIX = "/process_time/real_time"


def measure(options):
    """Rows, one an operation and program, and the limits that were measured beside them, in samples."""
    program = options.programs / "bench_kernels"
    repetitions = 3 if options.quick else 5
    arguments = [f"--benchmark_repetitions={repetitions}", "--benchmark_enable_random_interleaving=true",
                 f"--benchmark_min_time={0.02 if options.quick else 0.1}", f"--benchmark_filter=^limit/|{options.operations}"]
    print(f"== kernels: {repetitions} repetitions in random order", file=sys.stderr, flush=True)
    rows, limits = {}, {}
    for row in machine.benchmark_rows(program, arguments, options.threads):
        name = row["run_name"].removesuffix(SUFFIX)
        seconds = row["real_time"] * 1e-3  # the program counts in milliseconds
        if name.startswith("limit/"):
            key = "FLOP/s" if "FLOP/s" in row else "bytes/s"
            limits.setdefault(name, {"name": name, "rate": key, "samples": []})["samples"].append(row[key])
            continue
        operation, _, last = name.rpartition("/")
        who = last if last in OPPONENTS else "imago"
        operation = operation if who != "imago" else name
        entry = rows.setdefault(name, {"operation": operation, "program": who, "per_step": int(row["per_step"]),
                                       "flops": row.get("FLOP/s", 0) * seconds,
                                       "bytes": row.get("bytes/s", 0) * seconds, "samples": []})
        entry["samples"].append(seconds)
    return list(rows.values()), list(limits.values())


def limit(results, name):
    samples = [s for row in results["limits"] if row["name"] == name for s in row["samples"]]
    return statistics.median(samples) if samples else None


def merged(results):
    """Our rows with the medians of all programs: [(row, {program: seconds})], most expensive in a step first."""
    times = {}
    for row in results["kernels"]:
        times.setdefault(row["operation"], {})[row["program"]] = statistics.median(row["samples"])
    ours = [row for row in results["kernels"] if row["program"] == "imago"]
    return sorted(((row, times[row["operation"]]) for row in ours),
                  key=lambda pair: -pair[0]["per_step"] * pair[1]["imago"])


def rate(row, seconds, results):
    """Rate and its share of what limits it: multiply-adds, or copies where those would take longer."""
    fma, copy = limit(results, "limit/fma"), limit(results, "limit/copy")
    if not fma or not copy:
        return ("-", "-")
    if row["flops"] / fma >= row["bytes"] / copy:
        return f"{1e-9 * row['flops'] / seconds:.0f} GFLOP/s", f"{100 * row['flops'] / seconds / fma:.0f} %"
    return f"{1e-9 * row['bytes'] / seconds:.1f} GB/s", f"{100 * row['bytes'] / seconds / copy:.0f} %"


def table(results, most=40):
    rows = []
    for row, times in merged(results)[:most]:
        ours = times["imago"]
        others = [f"{times[who] / ours:.2f}" if who in times else "" for who in OPPONENTS]
        rows.append([row["operation"], row["per_step"], f"{1e3 * row['per_step'] * ours:.2f}", f"{1e3 * ours:.3f}",
                     *rate(row, ours, results), *others])
    return markdown(["operation", "a step", "ms a step", "ms a call", "rate", "of the limit", "oneDNN", "OpenBLAS"], rows)
