#!/usr/bin/env python3
"""PyTorch's own time for the cases of bench_cuda_libraries, in bfloat16 on a GPU.

    bench_cuda_libraries --list | python3 bench/torch_ops.py

reads one case a line and prints it with torch_warm_s and torch_cold_s: medians of several batches of calls (a
graph each), on the same operands again, and on others in turns, more than the L2 cache holds. Convolutions are
channels_last with cudnn.benchmark; GroupNorm is group_norm and silu in eager mode, and compiled into one
(torch_compiled_...); attention is scaled_dot_product_attention with every backend that takes the case, and the
fastest is reported.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time

import torch
from torch.nn import attention as sdpa
from torch.nn import functional as F

COLD_BYTES = 256 << 20
ROUNDS = 7
BATCH_SECONDS = 0.004

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def normal(*shape, layout=torch.contiguous_format, grad=False):
    x = torch.randn(shape, device=DEVICE).to(torch.bfloat16).to(memory_format=layout)
    return x.requires_grad_(grad)


def batch(calls, sets):
    """So many calls on the sets in turns, ready to be run again and again: one graph on a GPU."""
    def enqueue():
        for i in range(calls):
            sets[i % len(sets)]()

    if DEVICE.type == "cpu":
        return enqueue
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        enqueue()
    return graph.replay


def seconds_of(function):
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def seconds(sets):
    def three():
        for i in range(3):
            sets[i % len(sets)]()

    three()  # compiles, chooses, allocates
    calls = max(1, min(1000, int(3 * BATCH_SECONDS / seconds_of(three))))
    run_batch = batch(calls, sets)
    run_batch()
    return statistics.median(seconds_of(run_batch) / calls for _ in range(ROUNDS))


def measure(make, bytes_a_set):
    """make() gives a call with operands of its own."""
    sets = [make() for _ in range(max(2, 1 + COLD_BYTES // bytes_a_set))]
    return seconds(sets[:1]), seconds(sets)


# ---- A maker for every operation: the operands, and the call ----

def convolution(case):
    n, h, w, c, k, filter, stride = (case[key] for key in ("n", "h", "w", "c", "k", "filter", "stride"))
    padding = filter // 2
    if n == 1 and h == 1:
        return product(case["op"], w, c, k)
    out_h, out_w = ((size + 2 * padding - filter) // stride + 1 for size in (h, w))
    wanted = {"conv2d_dgrad": [True, False, False], "conv2d_wgrad": [False, True, False]}.get(case["op"])

    def make():
        x = normal(n, c, h, w, layout=torch.channels_last)
        weights = normal(k, c, filter, filter, layout=torch.channels_last)
        if wanted is None:
            return lambda: F.conv2d(x, weights, stride=stride, padding=padding)
        dy = normal(n, k, out_h, out_w, layout=torch.channels_last)
        return lambda: torch.ops.aten.convolution_backward(
            dy, x, weights, None, [stride, stride], [padding, padding], [1, 1], False, [0, 0], 1, wanted)

    return {"torch": make}, 2 * (n * h * w * c + k * c * filter * filter + n * out_h * out_w * k)


def product(op, rows, c, k):
    def make():
        x, weights, dy = normal(rows, c), normal(k, c), normal(rows, k)
        calls = {"conv2d": lambda: x @ weights.T, "conv2d_dgrad": lambda: dy @ weights,
                 "conv2d_wgrad": lambda: dy.T @ x}
        return calls[op]

    return {"torch": make}, 2 * (rows * c + k * c + rows * k)


def backward_of(forward, inputs):
    y = forward(*inputs)
    dy = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)


def group_norm(case):
    n, h, w, c = (case[key] for key in ("n", "h", "w", "c"))
    backward = case["op"].endswith("backward")

    def forward(x, gamma, beta):
        return F.silu(F.group_norm(x, case["groups"], gamma, beta, eps=1e-5))

    def maker(function):
        def make():
            x = normal(n, c, h, w, layout=torch.channels_last, grad=backward)
            gamma, beta = normal(c, grad=backward), normal(c, grad=backward)
            return backward_of(function, (x, gamma, beta)) if backward else lambda: function(x, gamma, beta)
        return make

    torch.compiler.reset()  # or the next shape would be compiled for shapes in general
    compiled = torch.compile(forward, dynamic=False)
    return {"torch": maker(forward), "torch_compiled": maker(compiled)}, 4 * n * h * w * c


def attention(case):
    n, t, heads, head_dim = (case[key] for key in ("n", "t", "heads", "head_dim"))
    backward = case["op"].endswith("backward")

    def maker(backend):
        def forward(q, k, v):
            with sdpa.sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v)

        def make():
            q, k, v = (normal(n, t, heads, head_dim).transpose(1, 2).requires_grad_(backward)  # [N,heads,T,D]
                       for _ in range(3))
            return backward_of(forward, (q, k, v)) if backward else lambda: forward(q, k, v)
        return make

    names = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
    makers = {name: maker(getattr(sdpa.SDPBackend, name)) for name in names if hasattr(sdpa.SDPBackend, name)}
    return makers, 8 * n * t * heads * head_dim


MAKERS = {"conv2d": convolution, "group_norm": group_norm, "attention": attention}


def run(case):
    makers, bytes_a_set = MAKERS[case["op"].split("_backward")[0].split("_dgrad")[0].split("_wgrad")[0]](case)
    row = dict(case)
    times = {}
    for name, make in makers.items():
        try:
            times[name] = measure(make, bytes_a_set)
        except RuntimeError as error:  # a backend that does not take the case
            row[f"{name}_problem"] = str(error).splitlines()[0]
    if "attention" in case["op"] and times:
        row["backend"] = min(times, key=lambda name: times[name][0])
        times = {"torch": times[row["backend"]]}
    for name, (warm, cold) in times.items():
        row[f"{name}_warm_s"], row[f"{name}_cold_s"] = warm, cold
    print(json.dumps(row), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", help="one operation")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    cases = [json.loads(line) for line in sys.stdin]
    # Gradients run on the stream of their forward pass, and the default stream cannot be recorded.
    with torch.cuda.stream(torch.cuda.Stream()) if DEVICE.type == "cuda" else contextlib.nullcontext():
        for case in cases:
            if options.only in (None, case["op"]):
                run(case)


if __name__ == "__main__":
    main()
