"""Nsight Compute on the kernels that take most of a training step: what limits each."""

import csv
import glob
import io
import os
import shutil

from part import Part
from timings import train_step

NETWORK = "ddpm_cifar10_32"
MOST_LAUNCHES = 800  # the first step of the network has some 700
LONGEST = 10
TIME = "gpu__time_duration.sum"
SHARES = {  # of its peak, per cent
    "tensor": "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active",
    "DRAM": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "L2": "lts__t_sectors.avg.pct_of_peak_sustained_elapsed",
    "issue": "sm__inst_issued.avg.pct_of_peak_sustained_active",
    "warps": "sm__warps_active.avg.pct_of_peak_sustained_active",
}
STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
STALLS = ("long_scoreboard", "short_scoreboard", "barrier", "wait", "math_pipe_throttle", "mio_throttle",
          "lg_throttle", "gmma", "no_instruction", "membar")
NANOSECONDS = {"ns": 1, "nsecond": 1, "us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6, "s": 1e9, "second": 1e9}


def find_ncu():
    places = [shutil.which("ncu"), *sorted(glob.glob("/usr/local/cuda*/bin/ncu")),
              *sorted(glob.glob("/opt/nvidia/nsight-compute/*/ncu"))]
    return next((path for path in places if path and os.access(path, os.X_OK)), None)


def number(text):
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def launches(text):
    """{ID: {"kernel", "grid", "block", metric: value}} of what ncu --csv printed; a line that was cut off is passed
    over."""
    lines = text[text.index('"ID"'):] if '"ID"' in text else ""
    found = {}
    for row in csv.DictReader(io.StringIO(lines)):
        value = number(row.get("Metric Value") or "")
        if value is None or not row.get("Kernel Name"):
            continue
        launch = found.setdefault(row["ID"], {"kernel": row["Kernel Name"], "grid": row.get("Grid Size", ""),
                                              "block": row.get("Block Size", "")})
        if row["Metric Name"] == TIME:
            value *= NANOSECONDS.get(row["Metric Unit"], 1)
        launch[row["Metric Name"]] = value
    return found


def longest(found):
    """The kernels (by name and grid) with most time; of each the shares of one launch, and what it waits for."""
    sums = {}
    for launch in found.values():
        if TIME not in launch:
            continue
        entry = sums.setdefault((launch["kernel"], launch["grid"]), {**launch, "launches": 0, "us": 0.0})
        entry["launches"] += 1
        entry["us"] += launch[TIME] / 1e3
    rows = []
    for entry in sorted(sums.values(), key=lambda entry: -entry["us"])[:LONGEST]:
        stalls = {name: entry.get(STALL.format(name)) or 0 for name in STALLS}
        rows.append({"kernel": entry["kernel"], "grid": entry["grid"], "block": entry["block"],
                     "launches": entry["launches"], "us": entry["us"],
                     **{name: entry.get(metric) for name, metric in SHARES.items()},
                     "waits for": max(stalls, key=stalls.get) if any(stalls.values()) else ""})
    return rows


def ncu(context, runner):
    tool = find_ncu()
    if tool is None:
        yield Part("absent", "ncu not found")
        return
    metrics = ",".join([TIME, *SHARES.values(), *map(STALL.format, STALLS)])
    done = runner.run([tool, "--csv", "--metrics", metrics, "--launch-count", MOST_LAUNCHES,
                       *train_step(context, NETWORK, "--warmup", 0, "--steps", 1)], {"IMAGO_AUTOTUNE": "off"})
    rows = longest(launches(done.output))
    if "ERR_NVGPUCTRPERM" in done.output + done.errors:
        yield Part("absent", "this machine lets only its administrator read performance counters")
    elif rows:
        together = sum(row["us"] for row in rows)
        note = f"{len(rows)} kernels, {together:.0f} us together"
        yield Part("passed" if done.passed else done.verdict(), note, rows)
    else:
        yield Part("failed", f"{done.verdict()} without a result")
