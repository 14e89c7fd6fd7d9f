#!/usr/bin/env python3
"""The opponent: one training step of a small DDPM U-Net in plain PyTorch, on the CPU.

The network of bench_train_step.cpp, which is diffusers' UNet2DModel with

    block_out_channels (64, 128, 128), layers_per_block 2, norm_num_groups 32,
    DownBlock2D, AttnDownBlock2D, AttnDownBlock2D / AttnUpBlock2D, AttnUpBlock2D, UpBlock2D,

6.80 million parameters on 32x32 RGB. A step is times and noise, x_t, forward, loss, backward, AdamW. Prints one JSON
object with the keys of `bench_train_step --json`. Needs nothing but torch.

PyTorch's choices are options: the defaults are what a straightforward program gets; --channels_last, --sdpa and --fused
are what a careful one tries.
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

CHANNELS = (64, 128, 128)
ATTENTION = (False, True, True)  # by level
LAYERS = 2  # residual blocks a level on the way down; one more on the way up
GROUPS = 32
EPS = 1e-5
TIMESTEPS = 1000


class TimeEmbedding(nn.Module):
    """t -> [cos(t f), sin(t f)] -> linear, silu, linear."""

    def __init__(self, width: int, out: int):
        super().__init__()
        half = width // 2
        frequencies = torch.exp(-math.log(10000.0) / half * torch.arange(half, dtype=torch.float32))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.linear_1 = nn.Linear(width, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, t):  # [N] -> [N,E]
        angles = t.to(torch.float32).unsqueeze(1) * self.frequencies
        return self.linear_2(F.silu(self.linear_1(torch.cat((angles.cos(), angles.sin()), dim=1))))


class Residual(nn.Module):
    """Two convolutions behind norm and silu, the time added between them, and a shortcut around."""

    def __init__(self, channels: int, out: int, embedding: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels, eps=EPS)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.time = nn.Linear(embedding, out)
        self.norm2 = nn.GroupNorm(GROUPS, out, eps=EPS)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x, silu_of_time):
        y = self.conv1(F.silu(self.norm1(x)))
        y = y + self.time(silu_of_time)[:, :, None, None]
        y = self.conv2(F.silu(self.norm2(y)))
        return self.shortcut(x) + y


class Attention(nn.Module):
    """Self-attention over the pixels of a picture."""

    def __init__(self, channels: int, head_dim: int, use_sdpa: bool):
        super().__init__()
        self.head_dim = head_dim or channels
        self.use_sdpa = use_sdpa
        self.norm = nn.GroupNorm(GROUPS, channels, eps=EPS)
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


class Level(nn.Module):
    """A residual block and, where the level has it, attention: once for every entry of `inputs` (channels)."""

    def __init__(self, inputs: list[int], out: int, embedding: int, attention: bool, head_dim: int, use_sdpa: bool):
        super().__init__()
        self.resnets = nn.ModuleList(Residual(channels, out, embedding) for channels in inputs)
        self.attentions = nn.ModuleList(
            Attention(out, head_dim, use_sdpa) if attention else nn.Identity() for _ in inputs
        )

    def layers(self):
        return zip(self.resnets, self.attentions)


class UNet(nn.Module):
    def __init__(self, head_dim: int, use_sdpa: bool):
        super().__init__()
        embedding = 4 * CHANNELS[0]
        last = len(CHANNELS) - 1
        self.time_embedding = TimeEmbedding(CHANNELS[0], embedding)
        self.conv_in = nn.Conv2d(3, CHANNELS[0], 3, padding=1)

        skips = [CHANNELS[0]]  # the channels of what the way down leaves for the way up
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        channels = CHANNELS[0]
        for i, out in enumerate(CHANNELS):
            inputs = [channels] + [out] * (LAYERS - 1)
            self.down.append(Level(inputs, out, embedding, ATTENTION[i], head_dim, use_sdpa))
            skips += [out] * LAYERS
            if i < last:
                self.downsample.append(nn.Conv2d(out, out, 3, stride=2, padding=1))
                skips.append(out)
            channels = out

        self.middle = Level([channels, channels], channels, embedding, True, head_dim, use_sdpa)
        self.middle.attentions[1] = nn.Identity()  # residual, attention, residual

        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for i in reversed(range(len(CHANNELS))):
            out = CHANNELS[i]
            inputs = [width + skips.pop() for width in [channels] + [out] * LAYERS]
            self.up.append(Level(inputs, out, embedding, ATTENTION[i], head_dim, use_sdpa))
            if i > 0:
                self.upsample.append(nn.Conv2d(out, out, 3, padding=1))
            channels = out

        self.norm_out = nn.GroupNorm(GROUPS, channels, eps=EPS)
        self.conv_out = nn.Conv2d(channels, 3, 3, padding=1)

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
        self.layout = torch.channels_last if options.channels_last else torch.contiguous_format
        self.net = UNet(options.head_dim, options.sdpa).to(memory_format=self.layout)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4, fused=True if options.fused else None)
        self.alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, TIMESTEPS), dim=0)
        self.pictures = torch.randn(options.batch, 3, 32, 32).to(memory_format=self.layout)
        self.loss = 0.0
        self.cpu = []

    def autocast(self):
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.options.mixed_precision == "bf16")

    def train(self):
        start = time.perf_counter()
        t = torch.randint(TIMESTEPS, (self.options.batch,))
        noise = torch.randn(self.pictures.shape).to(memory_format=self.layout)
        signal = self.alpha_bar[t].view(-1, 1, 1, 1)
        x_t = signal.sqrt() * self.pictures + (1 - signal).sqrt() * noise
        with self.autocast():
            prediction = self.net(x_t, t)
        loss = F.mse_loss(prediction.float(), noise)
        after_forward = time.perf_counter()
        loss.backward()
        after_backward = time.perf_counter()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        end = time.perf_counter()
        self.loss = loss.item()
        return after_forward - start, after_backward - after_forward, end - after_backward

    @torch.no_grad()
    def infer(self):
        t = torch.full((self.options.batch,), TIMESTEPS // 2)
        start = time.perf_counter()
        with self.autocast():
            self.net(self.pictures, t)
        return time.perf_counter() - start, 0.0, 0.0

    def step(self):
        start = time.process_time()
        parts = self.infer() if self.options.infer else self.train()
        self.cpu.append(time.process_time() - start)  # of all threads
        return parts


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="steps that are timed")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--head_dim", type=int, default=8, help="channels an attention head; 0: one head")
    parser.add_argument("--mixed_precision", choices=("no", "bf16"), default="no", help="bf16: autocast")
    parser.add_argument("--infer", action="store_true", help="forward only, without gradients")
    parser.add_argument("--channels_last", action="store_true", help="NHWC weights and pictures")
    parser.add_argument("--sdpa", action="store_true", help="scaled_dot_product_attention, not three operations")
    parser.add_argument("--fused", action="store_true", help="AdamW(fused=True)")
    parser.add_argument("--profile", action="store_true", help="torch.profiler's table of one step, after the timing")
    return parser.parse_args()


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    bench = Bench(options)
    for _ in range(options.warmup):
        bench.step()
    rows = [bench.step() for _ in range(options.steps)]
    totals = [sum(row) for row in rows]
    forward, backward, optimizer = (statistics.median(column) for column in zip(*rows))
    result = {
        "program": f"torch {torch.__version__}",
        "parameters": sum(p.numel() for p in bench.net.parameters()),
        "threads": torch.get_num_threads(),
        "batch": options.batch,
        "head_dim": options.head_dim,
        "mixed_precision": options.mixed_precision,
        "infer": options.infer,
        "channels_last": options.channels_last,
        "sdpa": options.sdpa,
        "fused": options.fused,
        "step_s_median": statistics.median(totals),
        "step_s_min": min(totals),
        "step_s_max": max(totals),
        "forward_s": forward,
        "backward_s": backward,
        "optimizer_s": optimizer,
        "cpu_s": statistics.median(bench.cpu[options.warmup :]),
        "loss": bench.loss,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(result), flush=True)
    if options.profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            bench.step()
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=44))


if __name__ == "__main__":
    main()
