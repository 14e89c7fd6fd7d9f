#!/usr/bin/env python3
"""The opponent of bench_decode: Pillow, with as many processes. Prints one JSON object with the same keys.

    python3 bench/decode_pillow.py FOLDER --workers 2
    python3 bench/decode_pillow.py FOLDER --make jpg --count 10000     # lays such a folder: 128x128, detail at every scale

Images become RGB, or stay grey, with transparency over white and the EXIF orientation applied, as `datasets` and
train_unconditional.py give them to torchvision.
"""

import argparse
import json
import multiprocessing
import pathlib
import random
import time
import zlib

from PIL import Image, ImageOps
from PIL import __version__ as version


def decode(path):
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if "A" in image.getbands() or "transparency" in image.info:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        image = image if image.mode == "L" else image.convert("RGB")
        return zlib.crc32(image.tobytes()), image.width * image.height


SIDE = 128


def make(folder, kind, count):
    """Images of fixed noise, coarse and fine."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = random.Random(0)
    for i in range(count):
        image = Image.new("RGB", (SIDE, SIDE), "grey")
        for side in (4, 16, SIDE):
            layer = Image.frombytes("RGB", (side, side), noise.randbytes(3 * side * side))
            image = Image.blend(image, layer.resize((SIDE, SIDE), Image.Resampling.BICUBIC), 0.1 if side == SIDE else 0.5)
        image.save(folder / f"{i:05}.{kind}", quality=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--make", choices=("jpg", "png"), help="write images instead")
    parser.add_argument("--count", type=int, default=10000, help="so many")
    options = parser.parse_args()
    if options.make:
        make(options.folder, options.make, options.count)
        return
    files = sorted(options.folder.iterdir())
    with multiprocessing.Pool(options.workers) as pool:
        pool.map(decode, files[: options.workers])  # processes are up, and Pillow's plugins loaded
        start = time.perf_counter()
        found = pool.map(decode, files, chunksize=16)
        seconds = time.perf_counter() - start
    print(json.dumps({"program": f"Pillow {version}", "files": len(files), "workers": options.workers,
                      "seconds": seconds, "pixels": sum(p for _, p in found),
                      "checksums": sum(crc for crc, _ in found)}))


if __name__ == "__main__":
    main()
