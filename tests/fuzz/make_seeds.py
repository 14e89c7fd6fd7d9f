#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, tests/fuzz/seeds/TARGET/: small files of every kind that a reader takes.

    pip install pillow
    python tests/fuzz/make_seeds.py

Those of Parquet are the files of tests/engine/data/parquet/. Files here that this does not write (found by
fuzzing, and fixed since) stay.
"""

import gzip
import json
import struct
from io import BytesIO
from pathlib import Path

from PIL import Image

SEEDS = Path(__file__).parent / "seeds"


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


# ---- safetensors ----

BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "U8": 1}


def safetensors(tensors, metadata):
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name, (dtype, shape) in tensors.items():
        count = 1
        for extent in shape:
            count *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + count * BYTES[dtype]]}
        at += count * BYTES[dtype]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(i % 251 for i in range(at))


def write_safetensors():
    all_types = {dtype.lower(): (dtype, [2, 3]) for dtype in BYTES}
    write("safetensors", "all_types", safetensors(all_types, {"format": "pt"}))
    write("safetensors", "weights", safetensors({"conv_in.weight": ("F32", [2, 3, 1, 1]), "conv_in.bias": ("F32", [2])}, {}))
    write("safetensors", "scalar_and_empty", safetensors({"a": ("F32", []), "b": ("F16", [0, 4])}, {}))
    write("safetensors", "none", safetensors({}, {"format": "pt"}))
    write("safetensors", "escapes", safetensors({"\u00e9\n\"": ("U8", [1])}, {"about": "{\"a\": [1, 2]}"}))


# ---- IDX ----

def idx(*extents):
    count = 1
    for extent in extents:
        count *= extent
    return bytes([0, 0, 8, len(extents)]) + struct.pack(f">{len(extents)}I", *extents) + bytes(i * 7 % 256 for i in range(count))


def write_idx():
    for name, data in {"grey": idx(3, 4, 5), "colour": idx(2, 3, 3, 3), "labels": idx(6), "one": idx(1, 1, 1)}.items():
        write("idx", name, data)
        write("idx", name + ".gz", gzip.compress(data, mtime=0))


# ---- Images ----

def gradient(mode, size=(9, 7)):
    image = Image.new("RGBA", size)
    image.putdata([(x * 28, y * 36, (x * y * 5) % 256, 255 - x * 20) for y in range(size[1]) for x in range(size[0])])
    return image.convert(mode)


def encoded(image, form, **options):
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def write_images():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        write("image", f"{mode}.png", encoded(gradient("RGB" if mode == "P" else mode).convert(mode), "PNG"))
    write("image", "16_bit.png", encoded(Image.new("I;16", (3, 2), 40000), "PNG"))
    write("image", "transparent_palette.png", encoded(gradient("RGB").quantize(8), "PNG", transparency=3))
    for mode in ("L", "RGB", "CMYK"):
        write("image", f"{mode}.jpg", encoded(gradient("RGB").convert(mode), "JPEG"))
    write("image", "progressive.jpg", encoded(gradient("RGB", (19, 18)), "JPEG", progressive=True, subsampling=2))
    exif = Image.Exif()
    exif[0x0112] = 6
    write("image", "turned.jpg", encoded(gradient("RGB"), "JPEG", exif=exif))
    for name, options in {"lossy": {}, "lossless": {"lossless": True}, "turned": {"exif": exif}}.items():
        write("image", f"{name}.webp", encoded(gradient("RGB"), "WEBP", **options))
    write("image", "transparent.webp", encoded(gradient("RGBA"), "WEBP"))


# ---- Configurations ----

def write_configs():
    def model(name, **keys):
        write("model_config", name + ".json", json.dumps({"_class_name": "UNet2DModel", **keys}).encode())

    model("defaults")
    model("small", sample_size=32, in_channels=3, out_channels=6, layers_per_block=2, block_out_channels=[32, 64],
          down_block_types=["DownBlock2D", "AttnDownBlock2D"], up_block_types=["AttnUpBlock2D", "UpBlock2D"],
          norm_num_groups=8, attention_head_dim=None, dropout=0.1, num_class_embeds=11, imago_null_class=10)
    model("fourier", sample_size=[8, 12], time_embedding_type="fourier", add_attention=False, mid_block_type=None,
          downsample_type="resnet", upsample_type="resnet", resnet_time_scale_shift="scale_shift",
          down_block_types=["ResnetDownsampleBlock2D"], up_block_types=["ResnetUpsampleBlock2D"],
          block_out_channels=[8], mid_block_scale_factor=1.4, norm_eps=1e-6)
    model("learned", time_embedding_type="learned", num_train_timesteps=20, class_embed_type="timestep",
          flip_sin_to_cos=False, freq_shift=1, downsample_padding=0, _use_default_values=["dropout"])

    def scheduler(kind, name="", **keys):
        file = kind + name + ".json"
        write("scheduler_config", file, json.dumps({"_class_name": kind + "Scheduler", "num_train_timesteps": 10, **keys}).encode())

    scheduler("DDPM", beta_schedule="squaredcos_cap_v2", variance_type="learned_range", clip_sample_range=1.5)
    scheduler("DDPM", "_trained", num_train_timesteps=3, trained_betas=[0.01, 0.02, 0.05], thresholding=True)
    scheduler("DDIM", rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")
    scheduler("DPMSolverMultistep", solver_order=3, use_karras_sigmas=True, lambda_min_clipped=-5.1)
    write("scheduler_config", "infinity.json", b'{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity}')
    scheduler("UniPCMultistep", solver_type="bh1", disable_corrector=[0, 1], sigma_min=0.01, sigma_max=None)
    scheduler("EulerDiscrete", interpolation_type="log_linear", timestep_type="continuous", use_beta_sigmas=True)
    scheduler("EulerAncestralDiscrete", beta_schedule="sigmoid")
    scheduler("HeunDiscrete", use_exponential_sigmas=True, beta_schedule="exp")
    scheduler("EDMEuler", sigma_data=0.5, rho=7.0, sigma_schedule="exponential", prediction_type="v_prediction")
    scheduler("FlowMatchEulerDiscrete", shift=3.0, shift_terminal=0.02, stochastic_sampling=True)
    scheduler("FlowMatchHeunDiscrete", shift=1.0)


if __name__ == "__main__":
    write_safetensors()
    write_idx()
    write_images()
    write_configs()
