#!/usr/bin/env python3
"""The opponent: one training step of a DDPM U-Net in plain PyTorch, on a CPU or on a GPU.

The network of bench_train_step.cpp: diffusers' UNet2DModel as a config.json describes it, or by default

    block_out_channels (64, 128, 128), layers_per_block 2, norm_num_groups 32,
    DownBlock2D, AttnDownBlock2D, AttnDownBlock2D / AttnUpBlock2D, AttnUpBlock2D, UpBlock2D,

6.80 million parameters on 32x32 RGB. A step is times and noise, x_t, forward, loss, backward, AdamW. Prints one JSON
object with the keys of `bench_train_step --json`. Needs nothing but torch.

PyTorch's choices are options: the defaults are what a straightforward program gets; --channels_last, --sdpa, --fused
and --compile are what a careful one tries.
"""

import argparse
import json
import math
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

TIMESTEPS = 1000

DEFAULTS = {  # of UNet2DModel, where its config.json says nothing
    "sample_size": 32,
    "in_channels": 3,
    "block_out_channels": (64, 128, 128),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,  # on the way down; one more on the way up
    "attention_head_dim": 8,  # None: one head
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
}
FIXED = {  # what a config.json may say besides
    "act_fn": "silu",
    "center_input_sample": False,
    "mid_block_scale_factor": 1,
    "out_channels": 3,
    "time_embedding_type": "positional",
}


def read_config(path: str | None, head_dim: int) -> argparse.Namespace:
    if path is None:
        return argparse.Namespace(**dict(DEFAULTS, attention_head_dim=head_dim or None))
    with open(path, encoding="utf-8") as file:
        config = {key: value for key, value in json.load(file).items() if not key.startswith("_")}
    for key in set(config) - set(DEFAULTS):
        if key not in FIXED or config[key] != FIXED[key]:
            raise SystemExit(f"unet_torch: {path}: {key} {config[key]!r} is not in this program")
    return argparse.Namespace(**dict(DEFAULTS, **{key: config[key] for key in set(config) & set(DEFAULTS)}))


class TimeEmbedding(nn.Module):
    """t -> [cos(t f), sin(t f)], or the other way round -> linear, silu, linear."""

    def __init__(self, config: argparse.Namespace, width: int, out: int):
        super().__init__()
        half = width // 2
        exponents = torch.arange(half, dtype=torch.float32) / (half - config.freq_shift)
        self.register_buffer("frequencies", torch.exp(-math.log(10000.0) * exponents), persistent=False)
        self.cosines_first = config.flip_sin_to_cos
        self.linear_1 = nn.Linear(width, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, t):  # [N] -> [N,E]
        angles = t.to(torch.float32).unsqueeze(1) * self.frequencies
        halves = (angles.cos(), angles.sin()) if self.cosines_first else (angles.sin(), angles.cos())
        return self.linear_2(F.silu(self.linear_1(torch.cat(halves, dim=1))))


def group_norm(config: argparse.Namespace, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_num_groups, channels, eps=config.norm_eps)


class Residual(nn.Module):
    """Two convolutions behind norm and silu, the time added between them, and a shortcut around."""

    def __init__(self, config: argparse.Namespace, channels: int, out: int, embedding: int):
        super().__init__()
        self.norm1 = group_norm(config, channels)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.time = nn.Linear(embedding, out)
        self.norm2 = group_norm(config, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x, silu_of_time):
        y = self.conv1(F.silu(self.norm1(x)))
        y = y + self.time(silu_of_time)[:, :, None, None]
        y = self.conv2(F.silu(self.norm2(y)))
        return self.shortcut(x) + y


class Attention(nn.Module):
    """Self-attention over the pixels of an image."""

    def __init__(self, config: argparse.Namespace, channels: int, use_sdpa: bool):
        super().__init__()
        self.head_dim = config.attention_head_dim or channels
        self.use_sdpa = use_sdpa
        self.norm = group_norm(config, channels)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x):
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # [N,T,C]

        def heads(projection):  # [N,heads,T,D]
            return projection(tokens).unflatten(2, (-1, self.head_dim)).transpose(1, 2)

        q, k, v = heads(self.query), heads(self.key), heads(self.value)
        if self.use_sdpa:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = q @ k.transpose(2, 3) / math.sqrt(self.head_dim)
            y = scores.softmax(dim=-1) @ v
        y = self.out(y.transpose(1, 2).flatten(2))  # [N,T,C]
        return x + y.transpose(1, 2).unflatten(2, x.shape[2:])


class Downsample(nn.Module):
    def __init__(self, channels: int, padding: int):
        super().__init__()
        self.padding = padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x):  # padding 0: one column of zeros at the right, one row at the bottom
        return self.conv(x if self.padding else F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """A residual block and, where the level has it, attention: once for every entry of `inputs` (channels)."""

    def __init__(self, config, inputs: list[int], out: int, embedding: int, attention: bool, use_sdpa: bool):
        super().__init__()
        self.resnets = nn.ModuleList(Residual(config, channels, out, embedding) for channels in inputs)
        self.attentions = nn.ModuleList(
            Attention(config, out, use_sdpa) if attention else nn.Identity() for _ in inputs
        )

    def layers(self):
        return zip(self.resnets, self.attentions)


class UNet(nn.Module):
    def __init__(self, config: argparse.Namespace, use_sdpa: bool):
        super().__init__()
        widths, layers = config.block_out_channels, config.layers_per_block
        embedding = 4 * widths[0]
        last = len(widths) - 1
        self.time_embedding = TimeEmbedding(config, widths[0], embedding)
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)

        skips = [widths[0]]  # the channels of what the way down leaves for the way up
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        channels = widths[0]
        for i, out in enumerate(widths):
            attention = config.down_block_types[i].startswith("Attn")
            self.down.append(Level(config, [channels] + [out] * (layers - 1), out, embedding, attention, use_sdpa))
            skips += [out] * layers
            if i < last:
                self.downsample.append(Downsample(out, config.downsample_padding))
                skips.append(out)
            channels = out

        self.middle = Level(config, [channels, channels], channels, embedding, True, use_sdpa)
        self.middle.attentions[1] = nn.Identity()  # residual, attention, residual

        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for i, out in enumerate(reversed(widths)):
            attention = config.up_block_types[i].startswith("Attn")
            inputs = [width + skips.pop() for width in [channels] + [out] * layers]
            self.up.append(Level(config, inputs, out, embedding, attention, use_sdpa))
            if i < last:
                self.upsample.append(nn.Conv2d(out, out, 3, padding=1))
            channels = out

        self.norm_out = group_norm(config, channels)
        self.conv_out = nn.Conv2d(channels, config.in_channels, 3, padding=1)

    def forward(self, x, t):  # [N,3,H,W], [N] -> [N,3,H,W]
        temb = F.silu(self.time_embedding(t))
        x = self.conv_in(x)
        skips = [x]
        for i, level in enumerate(self.down):
            for resnet, attention in level.layers():
                x = attention(resnet(x, temb))
                skips.append(x)
            if i < len(self.downsample):
                x = self.downsample[i](x)
                skips.append(x)
        for resnet, attention in self.middle.layers():
            x = attention(resnet(x, temb))
        for i, level in enumerate(self.up):
            for resnet, attention in level.layers():
                x = attention(resnet(torch.cat((x, skips.pop()), dim=1), temb))
            if i < len(self.upsample):
                x = self.upsample[i](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x)))


class Bench:
    def __init__(self, options: argparse.Namespace):
        torch.manual_seed(0)
        self.options = options
        self.device = torch.device(options.device)
        self.layout = torch.channels_last if options.channels_last else torch.contiguous_format
        config = read_config(options.config, options.head_dim)
        net = UNet(config, options.sdpa).to(device=self.device, memory_format=self.layout)
        self.parameters = list(net.parameters())
        self.net = torch.compile(net, mode=options.compile) if options.compile else net
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, fused=True if options.fused else None)
        self.alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, TIMESTEPS, device=self.device), dim=0)
        shape = (options.batch, config.in_channels, config.sample_size, config.sample_size)
        self.images = torch.randn(shape, device=self.device).to(memory_format=self.layout)
        self.loss = None
        self.cpu = []

    def autocast(self):
        enabled = self.options.mixed_precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def train(self):
        start = time.perf_counter()
        t = torch.randint(TIMESTEPS, (self.options.batch,), device=self.device)
        noise = torch.randn_like(self.images)
        signal = self.alpha_bar[t].view(-1, 1, 1, 1)
        x_t = signal.sqrt() * self.images + (1 - signal).sqrt() * noise
        with self.autocast():
            prediction = self.net(x_t, t)
        loss = F.mse_loss(prediction.float(), noise)
        after_forward = time.perf_counter()
        loss.backward()
        after_backward = time.perf_counter()
        if self.options.max_grad_norm > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.options.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        end = time.perf_counter()
        self.loss = loss.detach()
        return after_forward - start, after_backward - after_forward, end - after_backward

    @torch.no_grad()
    def infer(self):
        t = torch.full((self.options.batch,), TIMESTEPS // 2, device=self.device)
        start = time.perf_counter()
        with self.autocast():
            self.net(self.images, t)
        return time.perf_counter() - start, 0.0, 0.0

    def step(self):
        if self.options.compile:
            torch.compiler.cudagraph_mark_step_begin()  # results of the step before are no longer needed
        return self.infer() if self.options.infer else self.train()

    def take(self, steps: int):
        """On a CPU the parts of every step. A GPU runs behind: the mean of all steps, once the last is done."""
        if self.device.type == "cpu":
            rows = []
            for _ in range(steps):
                start = time.process_time()  # of all threads
                rows.append(self.step())
                self.cpu.append(time.process_time() - start)
            return rows
        torch.cuda.synchronize()
        cpu, start = time.process_time(), time.perf_counter()
        for _ in range(steps):
            self.step()
        torch.cuda.synchronize()
        self.cpu.append((time.process_time() - cpu) / steps)
        return [((time.perf_counter() - start) / steps,)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="steps that are timed")
    parser.add_argument("--rounds", type=int, default=1, help="how often")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--head_dim", type=int, default=8, help="channels an attention head; 0: one head")
    parser.add_argument("--config", help="the network: a unet/config.json of diffusers (default: see above)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--mixed_precision", choices=("no", "bf16"), default="no", help="bf16: autocast")
    parser.add_argument("--infer", action="store_true", help="forward only, without gradients")
    parser.add_argument("--max_grad_norm", type=float, default=0, help="clip the gradient's norm; 0: do not")
    parser.add_argument("--channels_last", action="store_true", help="NHWC weights and images")
    parser.add_argument("--sdpa", action="store_true", help="scaled_dot_product_attention, not three operations")
    parser.add_argument("--fused", action="store_true", help="AdamW(fused=True)")
    parser.add_argument("--compile", nargs="?", const="max-autotune", metavar="MODE", help="torch.compile, max-autotune or as MODE says")
    parser.add_argument("--profile", action="store_true", help="torch.profiler's table of one step, after the timing")
    return parser.parse_args()


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    bench = Bench(options)
    if options.warmup > 0:
        bench.take(options.warmup)
    bench.cpu.clear()
    rows = [row for _ in range(options.rounds) for row in bench.take(options.steps)]
    totals = [sum(row) for row in rows]
    result = {
        "program": f"torch {torch.__version__}",
        "parameters": sum(p.numel() for p in bench.parameters),
        "threads": torch.get_num_threads(),
        "batch": options.batch,
        "head_dim": options.head_dim,
        "config": options.config,
        "mixed_precision": options.mixed_precision,
        "infer": options.infer,
        "channels_last": options.channels_last,
        "sdpa": options.sdpa,
        "fused": options.fused,
        "compile": options.compile,
        "step_s_median": statistics.median(totals),
        "step_s_min": min(totals),
        "step_s_max": max(totals),
        "pictures_per_second": options.batch / statistics.median(totals),
        "cpu_s": statistics.median(bench.cpu),
        "loss": None if bench.loss is None else bench.loss.item(),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if options.device == "cpu":
        parts = zip(("forward_s", "backward_s", "optimizer_s"), zip(*rows))
        result.update({name: statistics.median(column) for name, column in parts})
    else:
        result["peak_tensor_mib"] = torch.cuda.max_memory_allocated() / 2**20
        result["reserved_mib"] = torch.cuda.max_memory_reserved() / 2**20
    print(json.dumps(result), flush=True)
    if options.profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            bench.step()
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=44))


if __name__ == "__main__":
    main()
