"""Part `training` of ./run bench: train_ddpm as a user starts it: the time to its first step, and whether --plan knew
how much memory the process would take."""

import json
import os
import pathlib
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import machine
from tables import markdown

IMAGES, SIDE, BATCH = 10000, 32, 8
MODELS = {"butterflies-32, 18.5 M": "butterflies_32.json", "ddpm-cifar10-32, 35.7 M": "ddpm_cifar10_32.json"}


def write_images(path):
    """A decoded data set: one IDX file, [IMAGES, SIDE, SIDE, 3]."""
    header = bytes([0, 0, 8, 4]) + struct.pack(">4I", IMAGES, SIDE, SIDE, 3)
    path.write_bytes(header + random.Random(0).randbytes(IMAGES * SIDE * SIDE * 3))


def planned_mib(command, threads):
    text = machine.run([*command, "--plan"], threads, passive=True)
    value, unit = re.search(r"^all memory.* ([\d.]+) ([KMG])iB$", text, re.MULTILINE).groups()
    return float(value) * {"K": 1 / 1024, "M": 1, "G": 1024}[unit]


def train(command, output, threads):
    """Two steps: {"start_s": until the first began, "peak_rss_mib": of the whole process}."""
    words = [str(w) for w in (*command, "--output_dir", output, "--max_train_steps", 2, "--eval_batch_size", 1,
                              "--preview_inference_steps", 2)]
    begin = time.monotonic()
    program = subprocess.Popen(words, env=machine.environment(threads, passive=True), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    metrics, seconds, status = output / "metrics.jsonl", None, None
    while status is None:
        done, code, usage = os.wait4(program.pid, os.WNOHANG)
        status = code if done else None
        if seconds is None and metrics.exists() and "\n" in (text := metrics.read_text(encoding="utf-8")):
            seconds = time.monotonic() - begin - json.loads(text.splitlines()[0])["seconds"]
        time.sleep(0.001)
    program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode != 0 or seconds is None:
        raise machine.Failure(f"{' '.join(words)}: exit code {program.returncode}")
    return {"start_s": seconds, "peak_rss_mib": usage.ru_maxrss / 1024}


def measure(options):
    """A row a model."""
    rounds = min(3, options.rounds)
    print(f"== training: {len(MODELS)} models, {rounds} rounds", file=sys.stderr, flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        images = pathlib.Path(temporary) / "noise-images-idx4-ubyte"
        write_images(images)
        for name, config in MODELS.items():
            command = [options.programs / "train_ddpm", "--train_data_dir", images, "--resolution", SIDE,
                       "--model_config_name_or_path", machine.ROOT / "bench/configs" / config,
                       "--train_batch_size", BATCH, "--use_ema", "--device", "cpu"]
            rows.append({"name": f"{name}, batch {BATCH}", "planned_mib": planned_mib(command, options.threads),
                         "rounds": [train(command, pathlib.Path(temporary) / f"{config}.{i}", options.threads)
                                    for i in range(rounds)]})
    return rows


def table(results):
    rows = []
    for row in results.get("training", []):
        start, peak = (statistics.median(r[key] for r in row["rounds"]) for key in ("start_s", "peak_rss_mib"))
        rows.append([row["name"], f"{start:.2f}", f"{row['planned_mib']:.0f}", f"{peak:.0f}",
                     f"{row['planned_mib'] / peak:.2f}"])
    return markdown([f"train_ddpm on {IMAGES} images, EMA kept", "to the first step, s", "planned, MiB", "peak, MiB",
                     "planned by peak"], rows)
