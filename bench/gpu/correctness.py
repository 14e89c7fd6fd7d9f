"""Is it right: the PTX wrappers, the op table, and what compute-sanitizer sees."""

import glob
import os
import re
import shutil

from part import NAMING, Part, culprit, list_of, verdict_of

CASE_SECONDS = 10  # of a PTX wrapper: most of it is the start of CUDA
TEST_SECONDS = 15  # of a row of the op table
MOST_NAMED = 10  # rows that are run a second time, for the name of their kernel

# Several programs at once: no spinning, and nothing is measured for the autotuner.
BESIDE_OTHERS = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "IMAGO_AUTOTUNE": "off"}

# What the sanitizer looks at: every family of kernels once, in small cases.
SANITIZED = ("conv2d", "conv2d_dgrad", "conv2d_wgrad", "per_image_bias_grad", "group_norm",
             "group_norm_backward", "attention", "attention_backward", "adamw", "norm")


def conformance(context, runner):
    """A process a case: one that hangs or breaks the GPU's context spoils no other."""
    program = context.programs / "ptx_conformance"
    listed = runner.run([program, "--list"], seconds=CASE_SECONDS)
    names = listed.output.splitlines() if listed.passed else []
    if not names:
        yield Part("failed", f"ptx_conformance lists no cases: {listed.verdict()}")
        return
    done, rows = [], []
    commands = [[program, "--case", i] for i in range(len(names))]
    for i, f in runner.run_all(commands, context.at_once(8192), {**BESIDE_OTHERS, **NAMING}, CASE_SECONDS):
        said = f.output.removeprefix(names[i]).strip().partition("\n")[0]
        row = {"case": i, "wrapper": names[i], "verdict": said if f.passed or said else "", "ended": f.verdict()}
        if not f.passed:
            row.update(culprit(f))
        done.append(f)
        rows.append(row)
        rows.sort(key=lambda row: row["case"])
        bad = [f"{row['wrapper']} ({row['verdict'] or row['ended']})" for row in rows if row["ended"] != "passed"]
        same = sum(row["verdict"] == "same" for row in rows)
        note = f"{same} of {len(names)} agree" + (": not " + list_of(bad) if bad else "")
        yield Part(verdict_of(done) if len(done) == len(names) else "running", note, rows)


def op_tests(context, runner):
    """The names of the op table's tests, short, each with its name for a filter."""
    done = runner.run([context.programs / "test_gpu_ops", "--gtest_list_tests", "--gtest_filter=OpTable.*"],
                      seconds=60)
    return {name.split("/")[-1]: f"OpTable.{name}" for name in re.findall(r"^  (\S+)", done.output, re.MULTILINE)}


def is_variant(test):
    """Of the device as another GPU, or with another choice among the kernels: cuda_sm_80_x1_add_float32."""
    return re.match(r"cuda_(sm_\d+_x\d+|measured|candidate_\d+)_", test) is not None


def risk(context, test):
    """What may hang comes last: ordinary kernels, tensor cores, and Hopper's own instructions."""
    hopper = (context.gpu["capability"] == 90 and re.search(r"conv2d(_dgrad|_wgrad)?_bfloat16$", test)
              and not re.match(r"cuda_sm_(?!90)", test))
    return 2 if hopper else 1 if re.search("conv2d|attention", test) else 0


def command_of(context, test_filter, *options):
    return [context.programs / "test_gpu_ops", "--gtest_brief=1", f"--gtest_filter={test_filter}", *options]


def checked_rows(context, runner, tests):
    """The rows as they end, what is cheap and safe first; then those that fail again, alone, for the kernel's
    name."""
    done, rows = [], []
    for level in range(3):
        chosen = [name for name in tests if risk(context, name) == level]
        commands = [command_of(context, tests[name]) for name in chosen]
        for i, f in runner.run_all(commands, context.at_once(2048), BESIDE_OTHERS, TEST_SECONDS):
            done.append(f)
            rows.append({"test": chosen[i], "verdict": f.verdict(), "seconds": round(f.seconds, 2)})
            yield Part("running", counted(rows, len(tests)), rows)
    failed = [row for row in rows if row["verdict"] != "passed"]
    for row in failed[:MOST_NAMED]:
        again = runner.run(command_of(context, tests[row["test"]]), {**BESIDE_OTHERS, **NAMING}, seconds=TEST_SECONDS)
        row.update(again=again.verdict(), **culprit(again))
        yield Part("running", counted(rows, len(tests)), rows)
    yield Part(verdict_of(done), counted(rows, len(tests)), rows)


def counted(rows, tests):
    bad = [row["test"] + (f" (in {row['kernel']})" if "kernel" in row else "")
           for row in rows if row["verdict"] != "passed"]
    note = f"{len(rows) - len(bad)} of {tests} operations and types pass"
    return note + (": not " + list_of(bad) if bad else "")


def rows_of(wanted):
    def run(context, runner):
        tests = {name: test for name, test in op_tests(context, runner).items() if wanted(name)}
        if not tests:
            yield Part("failed", "test_gpu_ops lists no tests")
            return
        yield from checked_rows(context, runner, tests)
    return run


def find_sanitizer(context):
    """compute-sanitizer on the path, in a CUDA toolkit, or in NVIDIA's Python packages."""
    folders = [f"{folder}/nvidia/*/bin" for folder in context.packages]
    patterns = ["/usr/local/cuda*/bin", "/usr/local/cuda*/compute-sanitizer", *folders]
    candidates = [shutil.which("compute-sanitizer")]
    candidates += [path for pattern in patterns for path in sorted(glob.glob(f"{pattern}/compute-sanitizer"))]
    return next((path for path in candidates if path and os.access(path, os.X_OK)), None)


def sanitizer(context, runner):
    """Small cases of the device as it is. racecheck knows no TMA: what it says is told and fails nothing."""
    tool = find_sanitizer(context)
    if tool is None:
        yield Part("absent", "compute-sanitizer not found")
        return
    tests = op_tests(context, runner)
    done, rows = [], []
    for check in ("memcheck", "racecheck"):
        names = [f"cuda_{op}_{'float32' if op in ('adamw', 'norm') else 'bfloat16'}" for op in SANITIZED]
        names = [name for name in names if name in tests]
        commands = [[tool, "--tool", check, "--error-exitcode", "9", "--print-limit", "20",
                     *command_of(context, tests[name], "--small_only")] for name in names]
        for i, f in runner.run_all(commands, context.at_once(4096) // 2, BESIDE_OTHERS):
            if check == "memcheck":
                done.append(f)
            rows.append({"check": check, "test": names[i], "verdict": f.verdict(), "seconds": round(f.seconds, 2)})
            bad = [f"{row['check']} of {row['test']}" for row in rows if row["verdict"] != "passed"]
            note = f"{len(rows) - len(bad)} of {2 * len(names)} checks pass" + (": not " + list_of(bad) if bad else "")
            yield Part("running", note, rows)
    yield Part(verdict_of(done) if done else "failed", note if rows else "test_gpu_ops lists no tests", rows)
