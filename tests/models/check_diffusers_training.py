#!/usr/bin/env python3
"""Trains a small model for every objective, opens each folder in real diffusers and compares what both sample from it;
then fine-tunes folders that diffusers wrote.

    python tests/models/check_diffusers_training.py build/bin

Needs torch, diffusers, safetensors and pillow from PyPI. From the same noise; how far the images are apart is
relative, in norm. Exit code 0: by at most 1e-4, and diffusers has no complaint about any folder.
"""

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file, save_file

STEPS, SIDE, IMAGES, CLASSES = 6, 8, 4, 3
MODEL = dict(sample_size=SIDE, in_channels=3, out_channels=3, layers_per_block=1, norm_num_groups=4,
             block_out_channels=[8, 16], attention_head_dim=8, down_block_types=["DownBlock2D", "AttnDownBlock2D"],
             up_block_types=["AttnUpBlock2D", "UpBlock2D"])
TRAINED = {  # options of train_ddpm, and of sample_ddpm
    "epsilon": ([], ["--scheduler", "ddim"]),
    "sample": (["--prediction_type", "sample"], ["--scheduler", "ddim"]),
    "v prediction, zero terminal SNR": (["--prediction_type", "v_prediction", "--rescale_betas_zero_snr"],
                                        ["--scheduler", "ddim"]),
    "learned range": (["--variance_type", "learned_range"], ["--scheduler", "ddim"]),
    "learned range, v prediction": (["--variance_type", "learned_range", "--prediction_type", "v_prediction",
                                     "--snr_gamma", "5", "--mixed_precision", "bf16"], ["--scheduler", "ddim"]),
    "classes": (["--class_conditional"], ["--scheduler", "ddim", "--class_label", "2"]),
    "classes, guided": (["--class_dropout", "0.2"],
                        ["--scheduler", "ddim", "--class_label", "1", "--guidance_scale", "2.5"]),
    "flow matching": (["--objective", "flow_matching"], []),
    "EDM": (["--objective", "edm"], []),
    "EDM, v prediction": (["--objective", "edm", "--prediction_type", "v_prediction"], []),
}
WRITTEN = {  # what diffusers saves, to be fine-tuned
    "plain": (dict(), DDPMScheduler()),
    "classes": (dict(num_class_embeds=CLASSES), DDPMScheduler()),
    "learned range": (dict(out_channels=6), DDPMScheduler(variance_type="learned_range")),
    "zero terminal SNR": (dict(), DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction",
                                                timestep_spacing="trailing")),
    "flow matching": (dict(), diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)),
    "EDM": (dict(), diffusers.EDMEulerScheduler()),
}


def run(program, *arguments):
    done = subprocess.run([str(Path(sys.argv[1]) / program), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program} {arguments}: {done.stderr}")


def write_images(folder):
    for i in range(24):
        (folder / f"class{i % CLASSES}").mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (SIDE, SIDE))
        image.putdata([((i * 37 + x * 12) % 256, (y * 16 + i * 9) % 256, (x + y) * 15 % 256)
                       for y in range(SIDE) for x in range(SIDE)])
        image.save(folder / f"class{i % CLASSES}" / f"{i}.png")


def train(folder, images, *options):
    run("train_ddpm", "--train_data_dir", images, "--output_dir", folder, "--max_train_steps", 4, "--train_batch_size", 4,
        "--learning_rate", 1e-3, "--lr_warmup_steps", 0, "--eval_batch_size", 1, "--preview_inference_steps", 1, "--logger",
        "none", "--device", "cpu", "--use_ema", *options)


def opened(folder):
    """Model and scheduler as diffusers reads them, and what it has to say about that."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("diffusers").addHandler(handler)
    unet = UNet2DModel.from_pretrained(folder, subfolder="unet", use_safetensors=True).eval()
    name = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["_class_name"]
    scheduler = getattr(diffusers, name).from_pretrained(folder, subfolder="scheduler")
    if isinstance(scheduler, DDPMScheduler) and not unet.config.num_class_embeds:  # what DDPMPipeline itself can sample
        pipeline = DDPMPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        pipeline(batch_size=1, num_inference_steps=2)
    logging.getLogger("diffusers").removeHandler(handler)
    return unet, scheduler, [m for m in messages if "imago_null_class" not in m]  # a key of ours


def value_of(options, name, otherwise):
    return options[options.index(name) + 1] if name in options else otherwise


def sampled(unet, scheduler, noise, options):
    if isinstance(scheduler, DDPMScheduler):
        scheduler = DDIMScheduler.from_config(scheduler.config)
    scheduler.set_timesteps(STEPS)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    label = value_of(options, "--class_label", None)
    classes = torch.full((len(noise),), int(label)) if label else None
    guidance = float(value_of(options, "--guidance_scale", 1))
    x = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    with torch.no_grad():
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            m = unet(scaled, t, class_labels=classes).sample[:, :x.shape[1]]
            if guidance != 1:
                without = unet(scaled, t, class_labels=torch.full_like(classes, CLASSES)).sample[:, :x.shape[1]]
                m = without + guidance * (m - without)
            x = scheduler.step(m, t, x).prev_sample
    return x


def compare(name, folder, options):
    unet, scheduler, messages = opened(folder)
    noise = torch.randn(IMAGES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    save_file({"noise": noise}, folder / "noise.safetensors")
    run("sample_ddpm", "--model", folder, "--initial_noise", folder / "noise.safetensors", "--num_inference_steps", STEPS,
        "--device", "cpu", "--save_tensors", folder / "out.safetensors", "--output", folder / "out.png", *options)
    ours = load_file(folder / "out.safetensors")["samples"]
    theirs = sampled(unet, scheduler, noise, options)
    error = float((ours - theirs).norm() / theirs.norm())
    kind = type(scheduler).__name__
    variance = getattr(scheduler.config, "variance_type", None) or ""
    print(f"{name:45} {kind:32} {variance:14} {unet.config.out_channels} channels out  {error:.1e}", *messages, sep="\n  ")
    return error <= 1e-4 and not messages


def main():
    torch.set_num_threads(1)
    diffusers.utils.logging.disable_progress_bar()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder / "images")
        (folder / "model.json").write_text(json.dumps(MODEL))
        for i, (name, (training, sampling)) in enumerate(TRAINED.items()):
            train(folder / str(i), folder / "images", "--model_config_name_or_path", folder / "model.json", *training)
            good &= compare(f"trained here: {name}", folder / str(i), sampling)
        for i, (name, (keys, scheduler)) in enumerate(WRITTEN.items()):
            torch.manual_seed(i)
            unet = UNet2DModel(**{**MODEL, **keys})
            unet.save_pretrained(folder / f"their{i}" / "unet")
            scheduler.save_pretrained(folder / f"their{i}" / "scheduler")
            ours = folder / f"tuned{i}"
            train(ours, folder / "images", "--model_config_name_or_path", folder / f"their{i}")
            ddim = ["--scheduler", "ddim"] if hasattr(scheduler, "alphas_cumprod") else []
            label = ["--class_label", "1"] if "num_class_embeds" in keys else []
            good &= compare(f"written there, fine-tuned here: {name}", ours, ddim + label)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
