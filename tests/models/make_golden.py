#!/usr/bin/env python3
"""Writes the golden files of tests/models/golden/ from real diffusers.

    pip install torch diffusers safetensors
    python tests/models/make_golden.py

unet_NAME.safetensors   one small U-Net: its output and the gradient of sum(output * dy) by every parameter
                        and by the input, computed by diffusers in float64 and stored as float32.
                        Configuration and inputs are in the metadata. Weights, x and dy are not stored: they
                        are numbers(name), a hash that tests/models/golden.h repeats.
schedules.safetensors   betas and alphas_cumprod of every beta schedule.
defaults.json           the default of every key of the classes that have a configuration file.
hybrid_loss.safetensors the loss of a model that learns its variance, by its definition, and its gradient.
pipeline/               a folder as DDPMPipeline.save_pretrained writes it, and samples.safetensors: what
                        DDIM makes of it in five steps.
"""

import inspect
import json
import math
import shutil
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import save_file

GOLDEN = Path(__file__).parent / "golden"


def uniform(name, count):
    """count numbers in [-1,1), multiples of 2^-23: SplitMix64 (Steele 2014) from the name's FNV-1a hash."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1


def numbers(name, shape):
    """float32 values of a weight or an input, by its name and shape."""
    u = uniform(name, math.prod(shape))
    if name == "time_proj.weight" and len(shape) == 1:
        u = 16 * u
    elif name.endswith(".bias"):
        u = 0.25 * u
    elif len(shape) == 1:
        u = 1 + 0.25 * u
    elif name.endswith(".weight"):
        u = u * math.sqrt(3 / math.prod(shape[1:]))
    return torch.from_numpy(u.astype(np.float32).reshape(shape))


def fill(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(numbers(name, tuple(p.shape)))


def save(tensors, name, about):
    """One metadata entry, "about", as JSON: the order of several would change from run to run."""
    save_file(tensors, GOLDEN / f"{name}.safetensors", {"about": json.dumps(about)})


# ---- U-Nets ----

DOWN, ATTN_DOWN, RES_DOWN = "DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"
UP, ATTN_UP, RES_UP = "UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"
SMALL = dict(block_out_channels=(4, 8), norm_num_groups=2, layers_per_block=1, attention_head_dim=None,
             down_block_types=(DOWN, ATTN_DOWN), up_block_types=(ATTN_UP, UP), sample_size=8)

CASES = {
    "head_dim_8": dict(SMALL, block_out_channels=(8, 16), norm_num_groups=4, attention_head_dim=8),
    "google_ddpm": dict(SMALL, layers_per_block=2, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
                        norm_eps=1e-6, down_block_types=(ATTN_DOWN, DOWN), up_block_types=(UP, ATTN_UP)),
    "scale_shift": dict(SMALL, resnet_time_scale_shift="scale_shift", mid_block_scale_factor=math.sqrt(2)),
    "class_table": dict(SMALL, resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4,
                        num_class_embeds=5, attention_head_dim=4),
    "class_timestep": dict(SMALL, block_out_channels=(6, 12), norm_num_groups=3, attention_head_dim=8,
                           sample_size=(8, 12), class_embed_type="timestep", center_input_sample=True),
    "fourier": dict(SMALL, time_embedding_type="fourier", add_attention=False),
    "learned_identity": dict(SMALL, time_embedding_type="learned", num_train_timesteps=20,
                             class_embed_type="identity", mid_block_type=None),
    "resnet_resampling": dict(SMALL, block_out_channels=(4, 8, 8), time_embedding_dim=24, in_channels=1,
                              out_channels=2, down_block_types=(RES_DOWN, ATTN_DOWN, DOWN),
                              downsample_type="resnet", up_block_types=(UP, ATTN_UP, RES_UP),
                              upsample_type="resnet", sample_size=(12, 8)),
    "odd_width": dict(SMALL, block_out_channels=(5, 10), norm_num_groups=1, up_block_types=(RES_UP, UP)),
}
TIMES = {"fourier": [0.75, 1.5], "learned_identity": [3, 19]}  # the others: 999 and 3
LABELS = {"class_table": [4, 0], "class_timestep": [2, 150]}


def write_unet(name, config):
    model = UNet2DModel(**config)
    fill(model)
    model.double()
    if config.get("class_embed_type") == "timestep":  # its features come as float32, whatever the model is
        model.class_embedding.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    size = config["sample_size"]
    h, w = (size, size) if isinstance(size, int) else size
    x = numbers("x", (2, model.config.in_channels, h, w)).double().requires_grad_(True)
    dy = numbers("dy", (2, model.config.out_channels, h, w)).double()
    times = TIMES.get(name, [999, 3])
    t = torch.tensor(times, dtype=torch.float64 if name == "fourier" else torch.int64)
    labels = None
    if name in LABELS:
        labels = torch.tensor(LABELS[name])
    elif config.get("class_embed_type") == "identity":
        labels = numbers("labels", (2, 4 * config["block_out_channels"][0])).double()
    y = model(x, t, class_labels=labels).sample
    (y * dy).sum().backward()
    tensors = {"output": y.detach().float().contiguous(), "grad:x": x.grad.float().contiguous()}
    for key, p in model.named_parameters():
        if p.requires_grad:
            tensors["grad:" + key] = p.grad.float().contiguous()
    save(tensors, f"unet_{name}", {"config": config, "times": times, "labels": LABELS.get(name)})
    print(name, model.num_parameters(), "parameters, output norm", float(y.detach().norm()))


# ---- Schedules and defaults ----

SCHEDULES = {
    "linear": {}, "scaled_linear": dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    "squaredcos_cap_v2": dict(beta_schedule="squaredcos_cap_v2"), "sigmoid": dict(beta_schedule="sigmoid"),
    "laplace": dict(beta_schedule="laplace"), "zero_snr": dict(rescale_betas_zero_snr=True),
    "linear_50": dict(num_train_timesteps=50, beta_end=0.3),
    "trained": dict(trained_betas=[0.01, 0.02, 0.05, 0.1], num_train_timesteps=4),
}


SCHEDULERS = ("DDPM", "DDIM", "DPMSolverMultistep", "UniPCMultistep", "EulerDiscrete", "EulerAncestralDiscrete",
              "HeunDiscrete", "EDMEuler", "FlowMatchEulerDiscrete", "FlowMatchHeunDiscrete")


def write_schedulers():
    tensors = {}
    for name, config in SCHEDULES.items():
        scheduler = DDPMScheduler(**config)
        tensors[name + ":betas"] = scheduler.betas.clone()
        tensors[name + ":alphas_cumprod"] = scheduler.alphas_cumprod.clone()
    save(tensors, "schedules", SCHEDULES)


def write_defaults():
    classes = [UNet2DModel] + [getattr(diffusers, name + "Scheduler") for name in SCHEDULERS]
    defaults = {cls.__name__: {key: p.default for key, p in inspect.signature(cls.__init__).parameters.items()
                               if key != "self" and p.default != -math.inf} for cls in classes}
    (GOLDEN / "defaults.json").write_text(json.dumps(defaults, indent=2, sort_keys=True) + "\n")


# ---- The hybrid loss ----

HYBRID = {  # the schedule, the times of the images, how far predictions are off, min-SNR's gamma
    "epsilon": (dict(num_train_timesteps=50, beta_end=0.3), [0, 1, 25, 49], 0.3, None),
    "sample": (dict(num_train_timesteps=20, beta_schedule="squaredcos_cap_v2"), [0, 1, 10, 19], 0.03, None),
    "v_prediction": (dict(num_train_timesteps=50, beta_end=0.3, rescale_betas_zero_snr=True), [0, 1, 25, 49], 0.3,
                     None),
    "epsilon_min_snr": (dict(num_train_timesteps=50, beta_end=0.3), [0, 1, 25, 49], 0.3, 5.0),
}


def hybrid_loss(scheduler, prediction_type, gamma, x0, noise, prediction, t):
    """L_simple + T / 1000 * (the term of L_vlb at t, in bits), as means over the image [H,W,C], in float64."""
    ab = scheduler.alphas_cumprod.double()
    beta = 1 - ab / torch.cat([torch.ones(1), ab[:-1]])  # as DDPMScheduler.step takes it
    m, o = prediction.chunk(2, dim=-1)  # [H,W,C] each
    a, b = ab[t].sqrt(), (1 - ab[t]).sqrt()
    target = {"epsilon": noise, "sample": x0, "v_prediction": a * noise - b * x0}[prediction_type]
    weight = 1.0
    if gamma is not None:  # epsilon
        snr = ab[t] / (1 - ab[t])
        weight = snr.clamp(max=gamma) / snr
    simple = weight * (m - target).square().mean()

    x = a * x0 + b * noise
    stopped = m.detach()
    x0_hat = {"epsilon": (x - b * stopped) / a if a > 0 else None, "sample": stopped,
              "v_prediction": a * x - b * stopped}[prediction_type]
    before = ab[t - 1] if t > 0 else torch.tensor(1.0, dtype=torch.float64)
    of_x0, of_x = before.sqrt() * beta[t] / (1 - ab[t]), (1 - beta[t]).sqrt() * (1 - before) / (1 - ab[t])
    variance = (1 - before) / (1 - ab[t]) * beta[t]  # of the posterior
    smallest = variance if t > 0 else (1 - ab[0]) / (1 - ab[1]) * beta[1]
    f = (o + 1) / 2
    model = torch.exp(f * beta[t].log() + (1 - f) * smallest.log())
    mean = of_x0 * x0_hat + of_x * x
    if t == 0:
        below = torch.special.ndtr((x0 + 1 / 255 - mean) / model.sqrt())
        above = torch.special.ndtr((mean - x0 + 1 / 255) / model.sqrt())
        p = torch.where(x0 < -0.999, below, torch.where(x0 > 0.999, above, below + above - 1))
        bound = -p.clamp(min=1e-12).log()
    else:
        normal = torch.distributions.Normal
        bound = torch.distributions.kl_divergence(normal(of_x0 * x0 + of_x * x, variance.sqrt()),
                                                  normal(mean, model.sqrt()))
    return simple + len(beta) / 1000 * bound.mean() / math.log(2)


def write_hybrid_loss():
    shape = (6, 5, 3)
    tensors = {}
    for name, (config, times, off, gamma) in HYBRID.items():
        prediction_type = name.removesuffix("_min_snr")
        scheduler = DDPMScheduler(variance_type="learned_range", prediction_type=prediction_type, **config)
        losses, gradients = [], []
        for t in times:
            as_pixels = lambda u: torch.from_numpy(np.floor(127.5 * (u + 1)).reshape(shape)) / 127.5 - 1
            x0 = as_pixels(uniform(f"x0 {t}", 90))
            x0[0, 0, 0], x0[0, 0, 1] = -1, 1
            noise = torch.from_numpy(uniform(f"noise {t}", 90).reshape(shape)) * 1.7
            a, b = scheduler.alphas_cumprod[t].double().sqrt(), (1 - scheduler.alphas_cumprod[t].double()).sqrt()
            target = {"epsilon": noise, "sample": x0, "v_prediction": a * noise - b * x0}[prediction_type]
            error = torch.from_numpy(uniform(f"error {t}", 90).reshape(shape)) * off
            o = torch.from_numpy(uniform(f"o {t}", 90).reshape(shape)) * 2
            prediction = torch.cat([target + error, o], dim=-1).requires_grad_(True)
            loss = hybrid_loss(scheduler, prediction_type, gamma, x0, noise, prediction, t)
            loss.backward()
            losses.append(loss.detach())
            gradients.append(prediction.grad)
        tensors[name + ":loss"] = torch.stack(losses)
        tensors[name + ":gradient"] = torch.stack(gradients).contiguous()
    save(tensors, "hybrid_loss", HYBRID)


# ---- A whole folder ----

def write_pipeline():
    folder = GOLDEN / "pipeline"
    shutil.rmtree(folder, ignore_errors=True)
    model = UNet2DModel(**CASES["google_ddpm"]).eval()
    fill(model)
    pipeline = DDPMPipeline(unet=model, scheduler=DDPMScheduler(variance_type="fixed_large"))
    pipeline.save_pretrained(folder)
    ddim = DDIMScheduler.from_config(pipeline.scheduler.config)
    ddim.set_timesteps(5)
    noise = numbers("noise", (3, 3, 8, 8)) * 2
    x = noise
    with torch.no_grad():
        for t in ddim.timesteps:
            x = ddim.step(model(x, t).sample, t, x).prev_sample
    save_file({"noise": noise, "samples": x.contiguous()}, folder / "samples.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(2)
    GOLDEN.mkdir(exist_ok=True)
    for case_name, case_config in CASES.items():
        write_unet(case_name, case_config)
    write_schedulers()
    write_defaults()
    write_hybrid_loss()
    write_pipeline()
