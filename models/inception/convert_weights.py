#!/usr/bin/env python3
"""Converts the weights of Inception-v3 that pytorch-fid publishes to a safetensors file.

    pip install torch safetensors
    python models/inception/convert_weights.py pt_inception-2015-12-05-6726825d.pth inception.safetensors

evaluate_ddpm --features inception.safetensors then measures with the network of the papers. The file is
loaded with weights_only=True, so that nothing in it is run.
"""

import sys

import torch
from safetensors.torch import save_file


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: convert_weights.py WEIGHTS.pth OUTPUT.safetensors")
    weights = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
    tensors = {name: t.float().contiguous() for name, t in weights.items() if t.is_floating_point()}
    save_file(tensors, sys.argv[2], metadata={"format": "pt"})
    print(f"{sys.argv[2]}: {len(tensors)} tensors, {sum(t.numel() for t in tensors.values()):,} numbers")


if __name__ == "__main__":
    main()
