#!/usr/bin/env python3
"""Opens pipeline folders that this project wrote in real diffusers, and compares what both make of an input.

    python tests/models/check_diffusers_roundtrip.py build/bin/test_models

Needs torch, diffusers and safetensors from PyPI. Exit code 0: diffusers loads every folder without complaint,
its output differs by at most 1e-5 (relative, in norm), and five steps of DDIM from the same noise by 1e-4.
"""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMPipeline
from safetensors.torch import load_file


def relative_error(a, b):
    return float((a - b).norm() / b.norm())


def check(folder):
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("diffusers").addHandler(handler)
    pipeline = DDPMPipeline.from_pretrained(folder, use_safetensors=True)
    logging.getLogger("diffusers").removeHandler(handler)
    unet = pipeline.unet.eval()
    ours = load_file(folder / "outputs.safetensors")
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(5)
    with torch.no_grad():
        output = unet(ours["noise"], torch.tensor([999, 421])).sample
        x = ours["noise"]
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x).prev_sample
    errors = relative_error(ours["output"], output), relative_error(ours["samples"], x)
    print(f"{folder.name}: {unet.num_parameters():,} parameters, output differs by {errors[0]:.1e}, "
          f"DDIM samples by {errors[1]:.1e}", *messages, sep="\n  ")
    return errors[0] <= 1e-5 and errors[1] <= 1e-4 and not messages


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], "--gtest_filter=PipelineFolder.ForDiffusers"], check=True,
                       env=dict(os.environ, IMAGO_ROUNDTRIP_FOLDER=folder), stdout=subprocess.DEVNULL)
        results = [check(path) for path in sorted(Path(folder).iterdir())]
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
