#!/usr/bin/env python3
"""Writes tests/models/golden/distances.json and bits.json: what evaluation computes, by numpy and scipy.

    pip install torch diffusers safetensors scipy
    python tests/models/make_evaluation_golden.py

distances.json: distances between two sets of features. The features are uniform("x", ..) and uniform("y", ..) of make_golden.py, brought to other means and mixed, so
that their covariances do not commute; tests/models/evaluation/distances_test.cpp does the same. "wide" has
fewer images than dimensions: its covariances are singular.

bits.json: the variational bound of two images under a small UNet2DModel of diffusers, in float64, on the noise
of kernels/philox.h, which normal() repeats.
"""

import json

import numpy as np
import scipy.linalg
import torch
from diffusers import DDPMScheduler, UNet2DModel
from make_golden import GOLDEN, SMALL, fill, uniform
from scipy.special import log_ndtr

CASES = {"plain": (80, 60, 12), "wide": (10, 9, 24)}  # images in x and y, dimensions


def features(name, n, d):
    """uniform() plus half the dimension before it, shifted by 1/4 for y; float32 as features are."""
    u = uniform(name, n * d).reshape(n, d)
    mixed = u + 0.5 * np.roll(u, 1, axis=1) * (1 + np.arange(d)) / d + (0.25 if name == "y" else 0)
    return mixed.astype(np.float32).astype(np.float64)


def frechet(x, y):
    s, r = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(s @ r)
    difference = x.mean(0) - y.mean(0)
    return float(difference @ difference + np.trace(s) + np.trace(r) - 2 * np.trace(root).real)


def frechet_by_svd(x, y):
    """The same without the root of a singular matrix: its trace is the sum of the singular values of X Y^T, X
    and Y being the features without their means, divided by the root of their numbers less one."""
    centred = [(a - a.mean(0)) / np.sqrt(len(a) - 1) for a in (x, y)]
    root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    difference = x.mean(0) - y.mean(0)
    return float(difference @ difference + sum((c**2).sum() for c in centred) - 2 * root)


def kernel_distance(x, y):
    """Of all images, with as many from y as from x."""
    m, d = len(x), x.shape[1]
    k = lambda a, b: (a @ b.T / d + 1) ** 3
    within = sum(k(a, a).sum() - np.trace(k(a, a)) for a in (x, y)) / (m * (m - 1))
    return float(within - 2 * k(x, y).mean())


def precision_recall(samples, reference, k):
    def distances(a, b):
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))

    def covered(points, by):
        radii = np.sort(distances(by, by), axis=1)[:, k]  # [0] is the point itself
        return float((distances(points, by) <= radii).any(axis=1).mean())

    return [covered(samples, reference), covered(reference, samples)]


# ---- Bits per dimension ----

SEED, BOUND_NOISE = 5, 13  # models/diffusion/streams.h
CHAIN = dict(num_train_timesteps=12, beta_start=0.01, beta_end=0.4)
BOUNDS = {
    "epsilon_fixed_small": dict(prediction_type="epsilon", variance_type="fixed_small"),
    "epsilon_unclipped": dict(prediction_type="epsilon", variance_type="fixed_small", clip_sample=False),
    "sample_fixed_large": dict(prediction_type="sample", variance_type="fixed_large"),
    "v_fixed_small_log": dict(prediction_type="v_prediction", variance_type="fixed_small_log"),
    "epsilon_learned_range": dict(prediction_type="epsilon", variance_type="learned_range"),
    "v_learned_range": dict(prediction_type="v_prediction", variance_type="learned_range", clip_sample=False),
}


def normal(stream, image, count):
    """Philox 4x32-10 (Salmon 2011) and Box-Muller: the numbers of kernels/philox.h, in float64."""
    mask = np.uint64(0xFFFFFFFF)
    quads = np.arange((count + 3) // 4, dtype=np.uint64)
    counter = [quads, np.full_like(quads, image), np.zeros_like(quads), np.full_like(quads, stream)]
    key = [SEED, 0]
    for _ in range(10):
        p0, p1 = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        shift = np.uint64(32)
        counter = [(p1 >> shift) ^ counter[1] ^ np.uint64(key[0]), p1 & mask,
                   (p0 >> shift) ^ counter[3] ^ np.uint64(key[1]), p0 & mask]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    pairs = []
    for a, b in ((counter[0], counter[1]), (counter[2], counter[3])):
        r = np.sqrt(-2 * np.log(((a >> np.uint64(1)).astype(float) + 0.5) / 2**31))
        turn = 2 * np.pi * b.astype(float) / 2**32
        pairs += [r * np.cos(turn), r * np.sin(turn)]
    return np.stack(pairs, axis=1).reshape(-1)[:count]


def log_interval(low, high):
    """log (Phi(high) - Phi(low)), from whichever side is the smaller."""
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    upper, lower = log_ndtr(high), log_ndtr(low)
    return upper + np.log1p(-np.exp(lower - upper))


def bound(about):
    scheduler = DDPMScheduler(**CHAIN, **about)
    learned = about["variance_type"] == "learned_range"
    model = UNet2DModel(**dict(SMALL, in_channels=3, out_channels=6 if learned else 3)).double().eval()
    fill(model)
    values = np.floor(127.5 * (uniform("bytes", 2 * 8 * 8 * 3) + 1)).reshape(2, 8, 8, 3)
    x0 = values / 127.5 - 1
    ab = scheduler.alphas_cumprod.double().numpy()
    before = np.append(1, ab[:-1])
    b = 1 - ab / before
    small = np.log(np.append(((1 - before) / (1 - ab) * b)[1], ((1 - before) / (1 - ab) * b)[1:]))
    nats = lambda m1, v1, m2, v2: 0.5 * (v2 - v1 - 1 + np.exp(v1 - v2) + (m1 - m2) ** 2 * np.exp(-v2))
    mean = lambda a: a.reshape(2, -1).mean(axis=1)
    terms, x0_errors, epsilon_errors = [], [], []
    for t in range(len(ab)):
        e = np.stack([normal(BOUND_NOISE << 24 | t, n, 192).reshape(8, 8, 3) for n in range(2)])
        xt = np.sqrt(ab[t]) * x0 + np.sqrt(1 - ab[t]) * e
        with torch.no_grad():
            out = model(torch.from_numpy(xt.transpose(0, 3, 1, 2)), torch.full((2,), t)).sample
        out = out.numpy().transpose(0, 2, 3, 1)
        m = out[..., :3]
        predicted = {"epsilon": (xt - np.sqrt(1 - ab[t]) * m) / np.sqrt(ab[t]), "sample": m,
                     "v_prediction": np.sqrt(ab[t]) * xt - np.sqrt(1 - ab[t]) * m}[about["prediction_type"]]
        if about.get("clip_sample", True):
            predicted = predicted.clip(-1, 1)
        v = np.full_like(m, np.log(b[t]) if about["variance_type"] == "fixed_large" else small[t])
        if learned:
            share = (out[..., 3:] + 1) / 2
            v = share * np.log(b[t]) + (1 - share) * small[t]
        if t == 0:
            low = np.where(values == 0, -np.inf, (x0 - 1 / 255 - predicted) * np.exp(-v / 2))
            high = np.where(values == 255, np.inf, (x0 + 1 / 255 - predicted) * np.exp(-v / 2))
            term = -log_interval(low, high)
        else:
            from_x0 = np.sqrt(before[t]) * b[t] / (1 - ab[t])
            from_xt = np.sqrt(1 - b[t]) * (1 - before[t]) / (1 - ab[t])
            term = nats(from_x0 * x0 + from_xt * xt, small[t], from_x0 * predicted + from_xt * xt, v)
        terms.append(mean(term) / np.log(2))
        x0_errors.append(mean((x0 - predicted) ** 2).mean())
        found = (xt - np.sqrt(ab[t]) * predicted) / np.sqrt(1 - ab[t])
        epsilon_errors.append(mean((found - e) ** 2).mean())
    prior = mean(nats(np.sqrt(ab[-1]) * x0, np.log(1 - ab[-1]), 0, 0)) / np.log(2)
    return {"scheduler": {**CHAIN, **about}, "prior": prior.tolist(), "decoder": terms[0].tolist(),
            "steps": sum(terms[1:]).tolist(), "bits": [float(term.mean()) for term in terms],
            "x0_error": x0_errors, "epsilon_error": epsilon_errors}


def write(name, golden):
    (GOLDEN / f"{name}.json").write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")


def main():
    write("bits", {name: bound(about) for name, about in BOUNDS.items()})
    golden = {}
    for name, (n, m, d) in CASES.items():
        x, y = features("x", n, d), features("y", m, d)
        least = min(n, m)
        golden[name] = {"images": [n, m], "dimension": d, "frechet": frechet(x, y),
                        "frechet_by_svd": frechet_by_svd(x, y),
                        "kernel": kernel_distance(x[:least], y[:least]),
                        "precision_recall": precision_recall(x, y, 3)}
    write("distances", golden)


if __name__ == "__main__":
    main()
