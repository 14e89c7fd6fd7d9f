"""Part `decode` of ./run bench: PNG and JPEG files to pixels, Imago and Pillow in turns, with as many workers."""

import json
import pathlib
import statistics
import sys
import tempfile

import machine
from tables import markdown

PILLOW = machine.ROOT / "bench/decode_pillow.py"


def measure_one(options, kind, count):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / kind
        machine.run([options.python, PILLOW, folder, "--make", kind, "--count", count], 1, passive=False)
        programs = {"imago": [options.programs / "bench_decode", folder, "--workers", options.threads],
                    "Pillow": [options.python, PILLOW, folder, "--workers", options.threads]}
        rounds = []
        for _ in range(options.rounds + 1):  # the first one brings the files into memory
            rounds.append({who: json.loads(machine.run(command, options.threads, passive=True))
                           for who, command in programs.items()})
    sums = {found["checksums"] for one in rounds for found in one.values()}
    return {"name": f"{count} {kind.upper()} files of 128x128", "same_pixels": len(sums) == 1,
            "rounds": [{who: found["seconds"] for who, found in one.items()} for one in rounds[1:]]}


def measure(options):
    """A row a format; none without a Python that has Pillow."""
    if not options.python:
        return []
    count = 1000 if options.quick else 10000
    print(f"== decode: {count} files a format, {options.rounds} rounds", file=sys.stderr, flush=True)
    return [measure_one(options, kind, count) for kind in ("png", "jpg")]


def table(results):
    rows = []
    for row in results.get("decode", []):
        ours, theirs = (statistics.median(r[who] for r in row["rounds"]) for who in ("imago", "Pillow"))
        ratios = sorted(r["Pillow"] / r["imago"] for r in row["rounds"])
        rows.append([row["name"], f"{ours:.2f}", f"{theirs:.2f}",
                     f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                     "the same" if row["same_pixels"] else "others"])
    return markdown(["decoding", "Imago, s", "Pillow, s", "ratio", "pixels"], rows)
