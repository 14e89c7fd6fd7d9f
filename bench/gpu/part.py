"""What every part of a GPU run is made of. A part is a function of a Context and a Runner with its time limit; it
yields a Part whenever it knows more, and everything that it yields is saved."""

import dataclasses
import json
import os
import pathlib
import re


@dataclasses.dataclass
class Context:
    programs: pathlib.Path
    scripts: pathlib.Path  # bench/
    gpu: dict  # what gpu_info says
    python: str  # that may have torch
    packages: list  # the folders in which it looks for packages
    cores: int = os.cpu_count() or 1

    def config(self, network):
        return self.scripts / "configs" / f"{network}.json"

    def at_once(self, mib):
        """How many programs that take so many MiB of the GPU."""
        return min(self.cores, max(1, self.gpu["memory_mib"] // mib))


@dataclasses.dataclass
class Part:
    verdict: str  # running, passed, failed, timed out, absent, interrupted
    note: str  # one line for the table
    data: object = None  # for results.json


@dataclasses.dataclass
class Plan:
    name: str
    run: object  # the generator
    seconds: float  # at most
    log: str
    what: str


def verdict_of(finished: list, rows: list = ()) -> str:
    """Of programs and of the rows that they owe."""
    if any(f.code not in (0, None) for f in finished):
        return "failed"
    if any(f.code is None for f in finished):
        return "timed out"
    return "failed" if any("problem" in row for row in rows) else "passed"


def json_lines(text: str) -> list:
    """The JSON objects in a program's output; other lines, and one that was cut off, are passed over."""
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def named(name, finished):
    """The row that a program printed of a network, or why there is none."""
    rows = json_lines(finished.output)
    problem = "gave no result" if finished.passed else finished.verdict()
    return {"network": name, **(rows[0] if rows else {"problem": problem})}


# Every launch is told, and waited for: the last one named is the one that hangs or fails.
NAMING = {"IMAGO_PRINT_LAUNCHES": "1", "CUDA_LAUNCH_BLOCKING": "1"}


def culprit(finished):
    """What a program that ran with NAMING says of its end: the kernel, and in a debug build the barrier."""
    found = {}
    launches = re.findall(r"^launch (.*)$", finished.errors, re.MULTILINE)
    stuck = re.findall(r"\bstuck: (.*)$", finished.output + finished.errors, re.MULTILINE)
    if launches:
        found["kernel"] = launches[-1]
    if stuck:
        found["stuck"] = stuck[0]
    return found


def list_of(names, most=6):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
