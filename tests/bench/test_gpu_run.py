"""The orchestration of bench/gpu/run_gpu.py, with shell scripts in the place of its programs."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

RUN_GPU = pathlib.Path(__file__).resolve().parents[2] / "bench/gpu/run_gpu.py"

GPU = '{"name": "Test GPU", "capability": 90, "memory_mib": 81920, "driver_cuda": 13000}'
LAYER = ('{"layer": "%s", "operation": "conv2d", "shapes": "[1,2,3,4]", "calls": 1, "seconds": 0.002, "flops": 1e12, '
         '"bytes": 2e9}')
STEP = ('{"parameters": 1000000, "batch": 64, "step_s_median": 0.0125, "pictures_per_second": 5120, '
        f'"peak_tensor_mib": 100, "profile": [{LAYER % "conv_in"}, {LAYER % "conv_out"}]}}')
PEER_STEP = STEP.replace("0.0125", "0.0250")
CASE = '"op": "conv2d", "n": 128, "h": 32, "w": 32, "c": 128, "k": 128, "filter": 3, "stride": 1, "flops": 4e10'
DUEL = ('{%s, "bytes": 1000, "imago_warm_s": 1e-4, "imago_cold_s": 2e-4, "library_warm_s": 3e-4, '
        '"library_cold_s": 4e-4, "difference": 0.001, "agrees": true}' % CASE)
PEER_DUEL = '{%s, "torch_warm_s": 5e-4, "torch_cold_s": 6e-4}' % CASE

PROGRAMS = {
    "gpu_info": f"echo '{GPU}'",
    "ptx_conformance": "printf '%-50s %s\\n' 'mma m16n8k16' same; echo 'sm_90: 1 agree, 0 differ, 0 skipped'",
    "test_gpu_ops": """
        case "$*" in
          *--gtest_list_tests*)
            printf 'OpTable.\\n'
            for test in cuda_add_float32 cuda_conv2d_float32 cuda_sm_90_x1_conv2d_bfloat16 cuda_norm_float32; do
              printf '  KeepsItsContract/%s\\n' $test
            done ;;
        esac""",
    "bench_train_step": f"echo chosen >$IMAGO_CACHE_DIR/choices; echo '{STEP}'",
    "bench_cuda_libraries": f"echo '{DUEL}'",
    "compute-sanitizer": "echo 'ERROR SUMMARY: 0 errors'",
    "python": f"""
        case "$*" in
          *torch.__version__*) echo '2.9.0 True' ;;
          *torch_ops.py*) cat >/dev/null; echo '{PEER_DUEL}' ;;
          *unet_torch.py*) echo '{PEER_STEP}' ;;
        esac""",
}


class GpuRun(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.output = self.folder / "results"
        self.programs = self.folder / "bin"
        self.programs.mkdir()
        for name, script in PROGRAMS.items():
            self.write(name, script)

    def write(self, name, script):
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def run_gpu(self, *arguments):
        environment = dict(os.environ, PATH=f"{self.programs}:{os.environ['PATH']}")
        return subprocess.run([sys.executable, "-B", RUN_GPU, "--programs", self.programs, "--python",
                               self.programs / "python", "--output", self.output, *arguments], env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)

    def results(self):
        return json.loads((self.output / "results.json").read_text(encoding="utf-8"))

    def verdicts(self):
        return {part["name"]: part["verdict"] for part in self.results()["parts"]}

    def test_all_parts_pass(self):
        done = self.run_gpu()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        order = ["conformance", "ops", "sanitizer", "steps", "libraries", "torch"]
        self.assertEqual(list(self.verdicts().items()), [(name, "passed") for name in order])
        self.assertLessEqual(len(list(self.output.iterdir())), 6)
        page = (self.output / "summary.md").read_text(encoding="utf-8")
        self.assertIn("| ddpm_cifar10_32 | 1.00 | 64 | 12.50 | 5120 | 100 | 25.00 | 2.00 | 25.00 | 2.00 |", page)
        self.assertIn("| 100.0 | 400.00 TFLOP/s | 300.0 | 3.00 | 500.0 | 5.00 | 1.0e-03 |", page)  # warm
        self.assertIn("| 200.0 | 200.00 TFLOP/s | 400.0 | 2.00 | 600.0 | 3.00 | 1.0e-03 |", page)  # cold
        self.assertIn("| conv2d | [1,2,3,4] | 2 | 4.000 | 100.0 % | 500.0 | 1.00 |", page)
        self.assertIn("ddpm_cifar10_32 12.50 ms", done.stdout)
        self.assertEqual(self.results()["autotuner"], {"choices": "chosen\n"})

    def test_without_a_gpu(self):
        self.write("gpu_info", "echo 'no CUDA device: none is visible'; exit 3")
        done = self.run_gpu()
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertEqual(done.stderr, "gpu: no CUDA device: none is visible\n")
        self.assertFalse(self.output.exists())

    def test_wrappers_that_differ_are_named(self):
        self.write("ptx_conformance", """
            printf '%-50s %s\\n' 'mma m16n8k16' same 'ldmatrix x4' 'DIFFERS at word 0: 00000001 on the GPU' \\
                   'a name so long that it runs into what is behind it' 'FAILS on the GPU: out of memory'
            echo 'sm_90: 1 agree, 2 differ, 0 skipped'
            exit 1""")
        done = self.run_gpu("--only", "conformance")
        self.assertEqual(done.returncode, 1)
        names = "ldmatrix x4, a name so long that it runs into what is behind it"
        self.assertIn(f"sm_90: 1 agree, 2 differ, 0 skipped: not {names}", done.stdout)

    def test_a_failing_operation_is_named_and_the_rest_runs(self):
        self.write("test_gpu_ops", PROGRAMS["test_gpu_ops"] + '\ncase "$*" in *conv2d_float32*) exit 1 ;; esac')
        done = self.run_gpu("--only", "ops,steps")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.verdicts(), {"ops": "failed", "steps": "passed"})
        self.assertIn("3 of 4 operations and types pass: not cuda_conv2d_float32", done.stdout)

    def test_a_hanging_part_is_ended_with_its_children_and_the_rest_runs(self):
        self.write("ptx_conformance", f"sleep 100 & echo $! >{self.folder}/child; echo begun; wait")
        start = time.monotonic()
        done = self.run_gpu("--only", "conformance,steps,torch", "--minutes", "0.2")
        self.assertLess(time.monotonic() - start, 30)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.verdicts(), {"conformance": "timed out", "steps": "passed", "torch": "passed"})
        child = int((self.folder / "child").read_text(encoding="utf-8"))
        state = pathlib.Path(f"/proc/{child}/stat")
        self.assertTrue(not state.exists() or " Z " in state.read_text(encoding="utf-8"), "the child still runs")
        self.assertIn("begun", (self.output / "conformance_and_ops.log").read_text(encoding="utf-8"))

    def test_a_compilation_that_takes_too_long_is_told_and_is_no_failure(self):
        self.write("python", 'case "$*" in *--compile*) sleep 100 ;; esac' + PROGRAMS["python"])
        done = self.run_gpu("--only", "torch", "--minutes", "0.1")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.verdicts(), {"torch": "passed"})
        self.assertIn("ddpm_cifar10_32 eager 25.00 ms", done.stdout)
        self.assertIn("ddpm_cifar10_32 compile timed out", done.stdout)

    def test_an_eager_step_that_takes_too_long_is_a_failure(self):
        self.write("python", 'case "$*" in *unet_torch.py*) sleep 100 ;; esac' + PROGRAMS["python"])
        done = self.run_gpu("--only", "torch", "--minutes", "0.05")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(self.verdicts(), {"torch": "timed out"})

    def test_a_part_that_is_not_there_is_refused_in_one_line(self):
        done = self.run_gpu("--only", "steps,foo")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, r"\Agpu: --only foo: expected some of conformance, [^\n]*\n\Z")

    def test_results_that_differ_fail(self):
        self.write("bench_cuda_libraries", f"echo '{DUEL.replace('true', 'false')}'; exit 1")
        done = self.run_gpu("--only", "libraries")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.verdicts(), {"libraries": "failed"})
        self.assertIn("0 of 1 agree", done.stdout)
        self.assertIn("1.0e-03 OFF", (self.output / "summary.md").read_text(encoding="utf-8"))

    def test_a_library_and_pytorch_may_be_absent(self):
        missing = '{"missing": "cuDNN", "problem": "no such file"}'
        self.write("bench_cuda_libraries", f"echo '{missing}'; echo '{DUEL}'")
        self.write("python", "exit 1")
        done = self.run_gpu("--only", "libraries,torch")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(self.verdicts(), {"libraries": "passed", "torch": "absent"})
        self.assertIn("no cuDNN", done.stdout)

    def test_a_program_that_prints_no_result_has_failed(self):
        self.write("bench_train_step", "echo Killed")
        done = self.run_gpu("--only", "steps")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ddpm_cifar10_32 gave no result", done.stdout)

    def test_a_missing_program_fails_its_part(self):
        (self.programs / "ptx_conformance").unlink()
        done = self.run_gpu("--only", "conformance,steps")
        self.assertEqual(self.verdicts(), {"conformance": "failed", "steps": "passed"})
        self.assertEqual(done.returncode, 1)

    def test_an_output_that_cannot_be_written(self):
        self.output.write_text("a file", encoding="utf-8")
        done = self.run_gpu()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, f"gpu: --output {self.output}: File exists\n")

    def test_bad_arguments(self):
        for arguments, named in ((["--only", "steps,nonsense"], "nonsense"), (["--minutes", "-1"], "--minutes")):
            done = self.run_gpu(*arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(named, done.stderr)


if __name__ == "__main__":
    unittest.main()
