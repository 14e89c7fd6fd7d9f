#!/usr/bin/env python3
"""Writes tests/models/golden/sampler_steps.safetensors: where every sampler of diffusers, over the cross
product of its options, takes a fixed start with a fixed "network" and fixed noise.

    pip install torch diffusers safetensors scipy
    python tests/models/make_sampler_golden.py

middle, final   [cases, 12] float32: x after the middle and after the last evaluation of the network
times           [total] float32: what the network is given, one case after the other
about           a list of cases in the metadata: class, steps, configuration (what differs from the class's
                defaults) and options of step()

The start is numbers("start") times the class's init_noise_sigma, the noise of evaluation i is
numbers("noise i"), the network is network() below; tests/models/diffusion/sampling_plan_test.cpp repeats all
three. Combinations to which diffusers itself has no finite answer are left out.
"""

import importlib
import itertools
import json
import math
import warnings

import diffusers
import numpy as np
import torch
from make_golden import GOLDEN, numbers
from safetensors.torch import save_file

SHAPE = (1, 3, 2, 2)


def network(x, t, i):
    """Any function of x, the time and the evaluation will do; x is what the scheduler's scale_model_input made.
    One that nearly is the noise would make samplers subtract nearly equal numbers, and compare roundings."""
    return x * (0.5 * (float(t) + 1) / (float(t) + 2)) + numbers(f"output {i}", SHAPE)


def with_variance(m, kind):
    """Channels of variance behind a prediction: positive for "learned", about -1 to 1 for "learned_range"."""
    v = m * m * 0.25 + 0.0625 if kind == "learned" else m * 0.5
    return torch.cat([m, v], dim=1)


def product(cls, steps, options=None, **axes):
    """One case for each combination of the axes; a value may be a dictionary of several keys."""
    for values in itertools.product(*axes.values()):
        case = {"class": cls, "steps": steps, "config": {}, "options": dict(options or {})}
        for key, value in zip(axes, values):
            part = value if isinstance(value, dict) else {key: value}
            for name, each in part.items():
                case["options" if name in ("eta", "use_clipped_model_output") else "config"][name] = each
        yield case


PREDICTIONS = ("epsilon", "sample", "v_prediction")
SPACINGS = ("leading", "linspace", "trailing")
BOUNDS = ({}, dict(clip_sample=False),
          dict(thresholding=True, sample_max_value=1.5, dynamic_thresholding_ratio=0.9))
LEVELS = ({}, dict(use_karras_sigmas=True), dict(use_exponential_sigmas=True), dict(use_beta_sigmas=True))
COSINE = dict(beta_schedule="squaredcos_cap_v2")


def ddpm_cases():
    yield from product("DDPMScheduler", 6, prediction_type=PREDICTIONS, timestep_spacing=SPACINGS,
                       bounds=BOUNDS, variance_type=("fixed_small", "fixed_small_log", "fixed_large", "learned",
                                                     "learned_range"))
    yield from product("DDPMScheduler", 7, prediction_type=("v_prediction",), timestep_spacing=("trailing",),
                       rescale_betas_zero_snr=(True,), clip=(dict(clip_sample_range=0.5),))
    yield from product("DDPMScheduler", 7, steps_offset=(1,), schedule=(
        COSINE, *(dict(beta_schedule=name) for name in ("sigmoid", "scaled_linear", "laplace"))))
    yield from product("DDPMScheduler", 50, num_train_timesteps=(50,), beta_end=(0.3,))


def ddim_cases():
    yield from product("DDIMScheduler", 6, prediction_type=PREDICTIONS, timestep_spacing=SPACINGS,
                       bounds=BOUNDS, eta=(0.0, 0.6), use_clipped_model_output=(False, True), 
                       set_alpha_to_one=(True, False))
    yield from product("DDIMScheduler", 7, steps_offset=(1,), schedule=(COSINE, dict(clip_sample_range=0.5)))
    yield from product("DDIMInverseScheduler", 6, timestep_spacing=("leading", "trailing"),
                       clip_sample=(True, False),
                       kind=[dict(prediction_type=p, set_alpha_to_one=one) for p in PREDICTIONS
                             for one in (True, False) if p != "sample" or not one])


def dpm_solver_cases():
    orders = [dict(solver_order=1), dict(solver_order=3)]
    orders += [dict(solver_order=2, solver_type=kind) for kind in ("midpoint", "heun")]
    dpm = lambda steps, **axes: product("DPMSolverMultistepScheduler", steps, **axes)
    yield from dpm(6, algorithm_type=("dpmsolver++", "sde-dpmsolver++"), order=orders,
                   prediction_type=PREDICTIONS, final_sigmas_type=("zero", "sigma_min"),
                   lower_order_final=(True, False), timestep_spacing=SPACINGS)
    yield from dpm(16, order=orders, euler_at_final=(True, False), lower_order_final=(True, False))
    yield from dpm(6, order=orders, levels=LEVELS[1:] + (dict(use_lu_lambdas=True),),
                   schedule=({}, dict(beta_schedule="scaled_linear")),
                   final_sigmas_type=("zero", "sigma_min"))
    yield from dpm(6, order=orders, bounds=BOUNDS[2:], prediction_type=PREDICTIONS)
    yield from dpm(6, order=orders, schedule=(dict(COSINE, lambda_min_clipped=-5.1),),
                   levels=({}, dict(use_karras_sigmas=True)), timestep_spacing=SPACINGS)
    yield from dpm(6, prediction_type=("v_prediction",), rescale_betas_zero_snr=(True,),
                   timestep_spacing=("trailing",))
    yield from dpm(6, steps_offset=(1,), timestep_spacing=("leading",))


def unipc_cases():
    unipc = lambda steps, **axes: product("UniPCMultistepScheduler", steps, **axes)
    common = dict(solver_order=(1, 2, 3), prediction_type=PREDICTIONS, timestep_spacing=SPACINGS)
    yield from unipc(6, **common)
    yield from unipc(6, **common, solver_type=("bh1", "bh2"), predict_x0=(True, False),
                     final_sigmas_type=("sigma_min",), lower_order_final=(True, False))
    yield from unipc(6, solver_order=(2, 3), levels=LEVELS[1:],
                     schedule=({}, dict(beta_schedule="scaled_linear")))
    yield from unipc(6, solver_order=(2, 3), disable_corrector=([0], [1, 2]), bounds=({}, BOUNDS[2]))
    yield from unipc(6, sigma_min=(0.05,), sigma_max=(50.0,), use_karras_sigmas=(True,))
    yield from unipc(6, prediction_type=("v_prediction",), rescale_betas_zero_snr=(True,),
                     timestep_spacing=("trailing",))


def euler_cases():
    euler = lambda steps, **axes: product("EulerDiscreteScheduler", steps, **axes)
    yield from euler(6, prediction_type=PREDICTIONS, timestep_spacing=SPACINGS, levels=LEVELS,
                     final_sigmas_type=("zero", "sigma_min"), interpolation_type=("linear", "log_linear"))
    yield from euler(6, prediction_type=("v_prediction",), timestep_type=("continuous",), levels=LEVELS)
    yield from euler(6, sigma_min=(0.05,), sigma_max=(50.0,), levels=LEVELS[1:])
    yield from euler(6, prediction_type=("v_prediction",), rescale_betas_zero_snr=(True,),
                     timestep_spacing=("trailing",))
    yield from product("EulerAncestralDiscreteScheduler", 6, prediction_type=("epsilon", "v_prediction"),
                       timestep_spacing=SPACINGS,
                       schedule=({}, dict(steps_offset=1), dict(beta_schedule="scaled_linear")))
    yield from product("EulerAncestralDiscreteScheduler", 6, schedule=(COSINE,))


def heun_cases():
    heun = lambda steps, **axes: product("HeunDiscreteScheduler", steps, **axes)
    yield from heun(5, prediction_type=PREDICTIONS, timestep_spacing=SPACINGS, levels=LEVELS,
                    bounds=({}, dict(clip_sample=True)))
    yield from heun(5, schedule=(COSINE, dict(beta_schedule="exp"), dict(beta_start=1e-4, beta_end=0.02)))


def edm_and_flow_cases():
    yield from product("EDMEulerScheduler", 6, prediction_type=("epsilon", "v_prediction"),
                       sigma_schedule=("karras", "exponential"), final_sigmas_type=("zero", "sigma_min"),
                       ends=({}, dict(sigma_min=0.01, sigma_max=20.0, sigma_data=0.7, rho=5.0)))
    yield from product("FlowMatchEulerDiscreteScheduler", 6, shift=(1.0, 3.0), levels=LEVELS,
                       terminal=({}, dict(shift_terminal=0.1)), stochastic_sampling=(False, True))
    yield from product("FlowMatchHeunDiscreteScheduler", 5, shift=(1.0, 3.0))


def run(case):
    """x after the middle and the last evaluation, and the times."""
    scheduler = getattr(diffusers, case["class"])(**case["config"])
    scheduler.set_timesteps(case["steps"])
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # as pipelines do; else it looks for the first time, and may find two
    module = importlib.import_module(type(scheduler).__module__)
    x = numbers("start", SHAPE) * getattr(scheduler, "init_noise_sigma", 1.0)
    if case["class"] == "UniPCMultistepScheduler":  # its noise prediction cancels: in double
        x, scheduler.sigmas = x.double(), scheduler.sigmas.double()
    learned = case["config"].get("variance_type") if case["class"] == "DDPMScheduler" else None
    middle = None
    for i, t in enumerate(scheduler.timesteps):
        z = numbers(f"noise {i}", SHAPE)
        module.randn_tensor = lambda *_, **__: z
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        m = network(scaled, t, i)
        if learned in ("learned", "learned_range"):
            m = with_variance(m, learned)
        options = dict(case["options"], variance_noise=z) if case["options"].get("eta") else case["options"]
        x = scheduler.step(m, t, x, **options).prev_sample
        middle = x if i == len(scheduler.timesteps) // 2 else middle
    return middle, x, [float(t) for t in scheduler.timesteps]


# ---- Heun's method with churn, which diffusers does not have: Karras 2022, algorithm 2, in float64 ----

def edm_heun_cases():
    churns = ({}, dict(s_churn=2.0), dict(s_churn=40.0, s_tmin=0.05, s_tmax=50.0, s_noise=1.003))
    for churn in churns:
        for cls, config in (("EDMEulerScheduler", {}),
                            ("EDMEulerScheduler", dict(sigma_schedule="exponential")),
                            ("DDPMScheduler", dict(clip_sample=False)),
                            ("DDPMScheduler", dict(clip_sample=False, prediction_type="v_prediction"))):
            yield {"class": cls, "steps": 5, "config": config, "options": dict(churn, edm_heun=True)}


def run_edm_heun(case):
    scheduler, n = getattr(diffusers, case["class"])(**case["config"]), case["steps"]
    edm = case["class"] == "EDMEulerScheduler"
    if edm:
        scheduler.set_timesteps(n)
        levels = scheduler.sigmas.double().numpy()
    else:
        table = (((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod) ** 0.5).numpy()
        ramp = np.linspace(0, 1, n)
        ends = float(table[-1]) ** (1 / 7), float(table[0]) ** (1 / 7)
        levels = np.append((ends[0] + ramp * (ends[1] - ends[0])) ** 7, 0)
        levels = levels.astype(np.float32).astype(np.float64)
    times = []

    def denoised(x, sigma):
        if edm:
            t = np.float32(math.log(sigma) / 4)
            c_in = 1 / math.sqrt(sigma**2 + 0.25)
            c_skip, c_out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / math.sqrt(sigma**2 + 0.25)
        else:
            logs = np.log(table.astype(np.float64))
            t = np.float32(np.interp(math.log(sigma), logs, np.arange(len(table))))
            c_in, c_skip, c_out = 1 / math.sqrt(sigma**2 + 1), 1.0, -sigma
            if case["config"].get("prediction_type") == "v_prediction":
                c_skip, c_out = 1 / (sigma**2 + 1), -sigma / math.sqrt(sigma**2 + 1)
        times.append(float(t))
        return c_skip * x + c_out * network(torch.from_numpy(c_in * x), t, len(times) - 1).numpy()

    options = case["options"]
    x = numbers("start", SHAPE).double().numpy() * levels[0]
    middle, z = None, numbers(f"noise {2 * n - 1}", SHAPE).double().numpy()
    for i in range(n):
        sigma = levels[i]
        inside = options.get("s_tmin", 0) <= sigma <= options.get("s_tmax", math.inf)
        gamma = min(options.get("s_churn", 0) / n, math.sqrt(2) - 1) if inside else 0
        hat, to = sigma * (1 + gamma), levels[i + 1]
        x = x + math.sqrt(hat**2 - sigma**2) * options.get("s_noise", 1) * z
        d = (x - denoised(x, hat)) / hat
        y = x + (to - hat) * d
        if to > 0:
            d2 = (y - denoised(y, to)) / to
            z = numbers(f"noise {len(times) - 1}", SHAPE).double().numpy()
            y = x + (to - hat) * (d + d2) / 2
        x = y
        middle = x if i + 1 == n else middle  # churn is part of the plan's other points
    return torch.from_numpy(middle).float(), torch.from_numpy(x).float(), times


def main():
    warnings.filterwarnings("ignore")
    cases, middles, finals, times, kept = [], [], [], [], []
    for maker in (ddpm_cases, ddim_cases, dpm_solver_cases, unipc_cases, euler_cases, heun_cases,
                  edm_and_flow_cases):
        cases += [(case, run) for case in maker()]
    cases += [(case, run_edm_heun) for case in edm_heun_cases()]
    for case, runner in cases:
        middle, final, visited = runner(case)
        if not torch.isfinite(final).all():
            print("not finite, left out:", case)
            continue
        middles.append(middle.reshape(-1).float())
        finals.append(final.reshape(-1).float())
        times += visited
        kept.append({key: value for key, value in case.items() if value})
    tensors = {"middle": torch.stack(middles), "final": torch.stack(finals), "times": torch.tensor(times)}
    save_file(tensors, GOLDEN / "sampler_steps.safetensors",
              {"about": json.dumps(kept, separators=(",", ":"))})
    print(len(kept), "cases")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
