#!/usr/bin/env python3
"""Writes the golden files of Inception-v3, tests/models/golden/inception_*.safetensors.

    pip install torch safetensors
    python tests/models/make_inception_golden.py

The network is the one that pytorch-fid computes features with, written down here from torch's layers:
Inception-v3 with average pooling that leaves out what lies outside of the image (blocks A, C, E), maximum
pooling in the last block, and epsilon 1e-3 in its batch normalisation. All widths are divided by 16.

inception_narrow.safetensors    random weights (float16) in the names of pytorch-fid's file
inception_features.safetensors  images [N,3,H,W] in [0,1] and what torch computes from them in float64:
                                resized to 299 x 299 as pytorch-fid does, and another image as it is
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from make_golden import uniform

GOLDEN = Path(__file__).parent / "golden"
NARROW = 16


class Conv(nn.Module):
    def __init__(self, cin, cout, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def width(channels):
    return channels // NARROW


def average(x):
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class A(nn.Module):
    def __init__(self, cin, pool):
        super().__init__()
        self.branch1x1 = Conv(cin, width(64), 1)
        self.branch5x5_1 = Conv(cin, width(48), 1)
        self.branch5x5_2 = Conv(width(48), width(64), 5, padding=2)
        self.branch3x3dbl_1 = Conv(cin, width(64), 1)
        self.branch3x3dbl_2 = Conv(width(64), width(96), 3, padding=1)
        self.branch3x3dbl_3 = Conv(width(96), width(96), 3, padding=1)
        self.branch_pool = Conv(cin, width(pool), 1)

    def forward(self, x):
        return torch.cat([self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)),
                          self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                          self.branch_pool(average(x))], 1)


class B(nn.Module):
    def __init__(self, cin):
        super().__init__()
        self.branch3x3 = Conv(cin, width(384), 3, stride=2)
        self.branch3x3dbl_1 = Conv(cin, width(64), 1)
        self.branch3x3dbl_2 = Conv(width(64), width(96), 3, padding=1)
        self.branch3x3dbl_3 = Conv(width(96), width(96), 3, stride=2)

    def forward(self, x):
        return torch.cat([self.branch3x3(x), self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                          F.max_pool2d(x, 3, stride=2)], 1)


class C(nn.Module):
    def __init__(self, cin, seven):
        super().__init__()
        row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
        c7 = width(seven)
        self.branch1x1 = Conv(cin, width(192), 1)
        self.branch7x7_1 = Conv(cin, c7, 1)
        self.branch7x7_2 = Conv(c7, c7, **row)
        self.branch7x7_3 = Conv(c7, width(192), **column)
        self.branch7x7dbl_1 = Conv(cin, c7, 1)
        self.branch7x7dbl_2 = Conv(c7, c7, **column)
        self.branch7x7dbl_3 = Conv(c7, c7, **row)
        self.branch7x7dbl_4 = Conv(c7, c7, **column)
        self.branch7x7dbl_5 = Conv(c7, width(192), **row)
        self.branch_pool = Conv(cin, width(192), 1)

    def forward(self, x):
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(average(x))], 1)


class D(nn.Module):
    def __init__(self, cin):
        super().__init__()
        self.branch3x3_1 = Conv(cin, width(192), 1)
        self.branch3x3_2 = Conv(width(192), width(320), 3, stride=2)
        self.branch7x7x3_1 = Conv(cin, width(192), 1)
        self.branch7x7x3_2 = Conv(width(192), width(192), (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Conv(width(192), width(192), (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Conv(width(192), width(192), 3, stride=2)

    def forward(self, x):
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), self.branch7x7x3_4(seven),
                          F.max_pool2d(x, 3, stride=2)], 1)


class E(nn.Module):
    def __init__(self, cin, pool):
        super().__init__()
        self.pool = pool
        row, column = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
        self.branch1x1 = Conv(cin, width(320), 1)
        self.branch3x3_1 = Conv(cin, width(384), 1)
        self.branch3x3_2a = Conv(width(384), width(384), **row)
        self.branch3x3_2b = Conv(width(384), width(384), **column)
        self.branch3x3dbl_1 = Conv(cin, width(448), 1)
        self.branch3x3dbl_2 = Conv(width(448), width(384), 3, padding=1)
        self.branch3x3dbl_3a = Conv(width(384), width(384), **row)
        self.branch3x3dbl_3b = Conv(width(384), width(384), **column)
        self.branch_pool = Conv(cin, width(192), 1)

    def forward(self, x):
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        around = average(x) if self.pool == "average" else F.max_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once),
                          self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice),
                          self.branch_pool(around)], 1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, width(32), 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(width(32), width(32), 3)
        self.Conv2d_2b_3x3 = Conv(width(32), width(64), 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(width(64), width(80), 1)
        self.Conv2d_4a_3x3 = Conv(width(80), width(192), 3)
        self.Mixed_5b = A(width(192), 32)
        self.Mixed_5c = A(width(256), 64)
        self.Mixed_5d = A(width(288), 64)
        self.Mixed_6a = B(width(288))
        self.Mixed_6b = C(width(768), 128)
        self.Mixed_6c = C(width(768), 160)
        self.Mixed_6d = C(width(768), 160)
        self.Mixed_6e = C(width(768), 192)
        self.Mixed_7a = D(width(768))
        self.Mixed_7b = E(width(1280), "average")
        self.Mixed_7c = E(width(2048), "maximum")

    def forward(self, x):  # [N,3,H,W] in [-1,1]
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = getattr(self, "Mixed_" + name)(x)
        return x.mean((2, 3))


def value_of(name, shape):
    """float16 values of a tensor, by its name: variances around 1, filters that keep the size of images."""
    u = torch.from_numpy(uniform(name, math.prod(shape))).reshape(shape)
    if name.endswith("conv.weight"):
        u = u * math.sqrt(6 / math.prod(shape[1:]))
    elif name.endswith(("bn.weight", "running_var")):
        u = 1 + 0.5 * u
    else:
        u = 0.25 * u
    return u.half()


def main():
    network = Inception().double().eval()
    weights = {n: value_of(n, t.shape) for n, t in network.state_dict().items() if t.is_floating_point()}
    network.load_state_dict(weights, strict=False)
    save_file(weights, GOLDEN / "inception_narrow.safetensors", metadata={"format": "pt"})

    small = torch.from_numpy((uniform("small", 2 * 3 * 40 * 29) + 1) / 2).reshape(2, 3, 40, 29).float()
    direct = torch.from_numpy((uniform("direct", 3 * 107 * 91) + 1) / 2).reshape(1, 3, 107, 91).float()
    with torch.no_grad():
        resized = F.interpolate(small.double(), size=(299, 299), mode="bilinear", align_corners=False)
        out = {"small": small, "features_of_small": network(2 * resized - 1).float(),
               "direct": direct, "features_of_direct": network(2 * direct.double() - 1).float()}
    save_file({n: t.contiguous() for n, t in out.items()}, GOLDEN / "inception_features.safetensors",
              metadata={"torch": torch.__version__})
    for name in ("features_of_small", "features_of_direct"):
        print(f"{name}: mean {out[name].mean():.4f}, deviation {out[name].std():.4f}")


if __name__ == "__main__":
    main()
