"""The parts of a GPU run in the order of their worth. None takes more than nine minutes, so that each fits alone into a
session of ten."""

import correctness
import profiler
import timings
from part import Plan

PLAN = (
    Plan("conformance", correctness.conformance, 120, "correctness.log", "every PTX wrapper against its host body"),
    Plan("rows", correctness.rows_of(lambda name: not correctness.is_variant(name)), 300, "correctness.log",
         "the op table against the reference"),
    Plan("variants", correctness.rows_of(correctness.is_variant), 480, "correctness.log",
         "the op table with every other choice among the kernels"),
    Plan("steps", timings.steps, 240, "timings.log", "whole training steps in bfloat16"),
    Plan("ncu", profiler.ncu, 300, "profiler.log", "what limits the ten longest kernels"),
    Plan("constants", timings.constants, 90, "timings.log", "the constants of the cost model"),
    Plan("autotuner", timings.autotuner, 300, "timings.log", "the same steps with the autotuner off and on"),
    Plan("sanitizer", correctness.sanitizer, 240, "correctness.log", "memcheck and racecheck of small cases"),
    Plan("libraries", timings.libraries, 300, "timings.log", "kernels beside cuDNN and cuBLASLt"),
    Plan("torch", timings.torch, 540, "torch.log", "the same steps and operations in PyTorch"),
)
