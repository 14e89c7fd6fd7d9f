"""What a benchmark has to say about the machine it ran on, and how its programs are started."""

import datetime
import json
import os
import pathlib
import platform
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent

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

FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")


class Failure(Exception):
    """A program that did not do what it was started for; the text is one line."""


def environment(threads, passive):
    env = dict(os.environ, GLIBC_TUNABLES=GLIBC_TUNABLES, OMP_NUM_THREADS=str(threads))
    if passive:
        env["OMP_WAIT_POLICY"] = "PASSIVE"
    return env


def run(command, threads, passive, text=None):
    """The standard output of a program, with so many threads."""
    env = environment(threads, passive)
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, input=text)
    except OSError as error:
        raise Failure(f"{words[0]}: {error.strerror}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Failure(f"{' '.join(words)}: exit code {done.returncode}: {last}")
    return done.stdout


def cpu_info():
    """The first processor's fields in /proc/cpuinfo."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def describe():
    info = cpu_info()
    flags = set(info.get("flags", "").split())
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "family": f"{info.get('cpu family', '?')}/{info.get('model', '?')}",
        "features": [f for f in FEATURES if f in flags],
        "logical_cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
    }


def slug(machine):
    """A file's name for the kind of machine: "amd-epyc-26-2-avx512-bf16"."""
    widest = ([f for f in machine["features"] if f != "fma"] or ["x86"])[-1]
    text = f"{machine['cpu']} {machine['family']} {widest}".lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


def revision():
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "unknown"


def now():
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def benchmark_rows(program, arguments, threads):
    """The rows of a Google Benchmark program: [{"name", "seconds", "counters"}], a row a repetition."""
    text = run([program, "--benchmark_format=json", *arguments], threads, passive=True)
    rows = []
    for row in json.loads(text)["benchmarks"]:
        if row.get("error_occurred"):
            raise Failure(f"{row['name']}: {row['error_message']}")
        if row.get("run_type") == "iteration":
            rows.append(row)
    return rows
