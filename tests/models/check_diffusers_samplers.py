#!/usr/bin/env python3
"""Folders that the real diffusers writes with each of its schedulers, sampled by it and by sample_ddpm.

    python tests/models/check_diffusers_samplers.py build/bin/sample_ddpm

The U-Net of tests/models/golden/pipeline, from the same noise; prints how far the images are apart (relative,
in norm). Exit code 0: by at most 1e-4.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import diffusers
import torch
from diffusers import DDPMPipeline
from safetensors.torch import load_file, save_file

CASES = {
    "DDIMScheduler": [{}, dict(timestep_spacing="trailing")],
    "DPMSolverMultistepScheduler": [{}, dict(solver_order=3, use_karras_sigmas=True)],
    "UniPCMultistepScheduler": [{}, dict(solver_order=3, solver_type="bh1", final_sigmas_type="sigma_min")],
    "EulerDiscreteScheduler": [{}, dict(use_karras_sigmas=True), dict(timestep_spacing="leading")],
    "HeunDiscreteScheduler": [{}, dict(use_exponential_sigmas=True, clip_sample=True)],
    "FlowMatchEulerDiscreteScheduler": [{}, dict(shift=3.0)],
    "FlowMatchHeunDiscreteScheduler": [{}],
    "EDMEulerScheduler": [{}],
}
STEPS = 8


def sampled(unet, scheduler, noise):
    scheduler.set_timesteps(STEPS)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    x = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    with torch.no_grad():
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            x = scheduler.step(unet(scaled, t).sample, t, x).prev_sample
    return x


def main():
    warnings.filterwarnings("ignore")
    golden = Path(__file__).parent / "golden" / "pipeline"
    noise = load_file(golden / "samples.safetensors")["noise"]
    pipeline = DDPMPipeline.from_pretrained(golden)
    worst = 0
    for name, configurations in CASES.items():
        for configuration in configurations:
            with tempfile.TemporaryDirectory() as folder:
                pipeline.scheduler = getattr(diffusers, name)(**configuration)
                pipeline.save_pretrained(folder)
                save_file({"noise": noise}, f"{folder}/noise.safetensors")
                subprocess.run([sys.argv[1], "--model", folder, "--initial_noise", f"{folder}/noise.safetensors",
                                "--num_inference_steps", str(STEPS), "--save_tensors", f"{folder}/out.safetensors"],
                               check=True, capture_output=True)
                ours = load_file(f"{folder}/out.safetensors")["samples"]
                theirs = sampled(pipeline.unet, pipeline.scheduler, noise)
                error = float((ours - theirs).norm() / theirs.norm())
                print(f"{name} {configuration}: {error:.1e}")
                worst = max(worst, error)
    sys.exit(worst > 1e-4)


if __name__ == "__main__":
    main()
