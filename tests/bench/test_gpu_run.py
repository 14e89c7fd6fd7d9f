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

# Two launches of one kernel and grid, one of another; ncu prints what the program says before it.
NCU_ROW = '"%d","99","bench","h","%s","1","7","(256, 1, 1)","(%d, 1, 1)","0","9.0","Command line","%s","%s","%s"'
NCU = "\n".join([
    "==PROF== Connected to process 99",
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device",'
    '"CC","Section Name","Metric Name","Metric Unit","Metric Value"',
    *(NCU_ROW % (i, kernel, grid, metric, unit, value) for i, kernel, grid, values in (
        (0, "conv2d_wgmma", 132, ("30", "61.5", "2.5")), (1, "silu", 500, ("1,500", "0", "7")),
        (2, "conv2d_wgmma", 132, ("40", "61.5", "2.5")))
      for (metric, unit), value in zip((
          ("gpu__time_duration.sum", "usecond" if kernel == "conv2d_wgmma" else "nsecond"),
          ("sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active", "%"),
          ("smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio", "inst")), values))])

PROGRAMS = {
    "gpu_info": f"echo '{GPU}'",
    "ptx_conformance": """
        case "$*" in
          --list) printf 'mma m16n8k16\\nldmatrix x4\\nwgmma n64\\n' ;;
          '--case 0') printf '%-50s  same\\n' 'mma m16n8k16' ;;
          '--case 1') printf '%-50s  same\\n' 'ldmatrix x4' ;;
          '--case 2') printf '%-50s  same\\n' 'wgmma n64' ;;
        esac""",
    "test_gpu_ops": """
        case "$*" in
          *--gtest_list_tests*)
            printf 'OpTable.\\n'
            for test in cuda_conv2d_bfloat16 cuda_conv2d_float32 cuda_sm_90_x1_conv2d_bfloat16 cuda_norm_float32; do
              printf '  KeepsItsContract/%s\\n' $test
            done ;;
        esac""",
    "bench_train_step": f"echo chosen >$IMAGO_CACHE_DIR/choices; echo '{STEP}'",
    "bench_cuda_libraries": f"echo '{DUEL}'",
    "bench_gpu_constants": """echo '{"constant": "memory_bandwidth", "value": 3.0e12, "unit": "B/s"}'""",
    "ncu": f"cat <<'EOF'\n{NCU}\nEOF",
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

    def command(self, *arguments):
        environment = dict(os.environ, PATH=f"{self.programs}:{os.environ['PATH']}")
        return {"args": [sys.executable, "-B", RUN_GPU, "--programs", self.programs, "--python",
                         self.programs / "python", "--output", self.output, *arguments], "env": environment,
                "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def run_gpu(self, *arguments, **more):
        return subprocess.run(**self.command(*arguments), **more, timeout=120)

    def begin(self, *arguments):
        return subprocess.Popen(**self.command(*arguments))

    def wait_for(self, condition):
        end = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), end, "it never happened")
            time.sleep(0.02)

    def data(self, name):
        return next(part["data"] for part in self.results()["parts"] if part["name"] == name)

    def assert_dead(self, name):
        child = int((self.folder / name).read_text(encoding="utf-8"))
        state = pathlib.Path(f"/proc/{child}/stat")
        self.assertTrue(not state.exists() or " Z " in state.read_text(encoding="utf-8"), "the child still runs")

    def results(self):
        return json.loads((self.output / "results.json").read_text(encoding="utf-8"))

    def verdicts(self):
        return {part["name"]: part["verdict"] for part in self.results()["parts"]}

    def test_all_parts_pass(self):
        done = self.run_gpu()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        order = ["conformance", "rows", "variants", "steps", "ncu", "constants", "autotuner", "sanitizer", "libraries",
                 "torch"]
        self.assertEqual(list(self.verdicts().items()), [(name, "passed") for name in order])
        self.assertLessEqual(len(list(self.output.iterdir())), 6)
        page = (self.output / "summary.md").read_text(encoding="utf-8")
        self.assertIn("| ddpm_cifar10_32 | 1.00 | 64 | 12.50 | 5120 | 100 | 25.00 | 2.00 | 25.00 | 2.00 |", page)
        self.assertIn("| 100.0 | 400.00 TFLOP/s | 300.0 | 3.00 | 500.0 | 5.00 | 1.0e-03 |", page)  # warm
        self.assertIn("| 200.0 | 200.00 TFLOP/s | 400.0 | 2.00 | 600.0 | 3.00 | 1.0e-03 |", page)  # cold
        self.assertIn("| conv2d | [1,2,3,4] | 2 | 4.000 | 100.0 % | 500.0 | 1.00 |", page)
        self.assertIn("| conv2d_wgmma | (132, 1, 1) | 2 | 70.0 | 62 | - | - | - | - | long_scoreboard |", page)
        self.assertIn("| silu | (500, 1, 1) | 1 | 1.5 | 0 | - | - | - | - | long_scoreboard |", page)
        self.assertIn("| memory_bandwidth | 3e+12 | B/s |", page)
        self.assertIn("| ddpm_cifar10_32 | 12.50 | 12.50 | 1.00 |", page)  # autotuner off and on
        self.assertIn("ddpm_cifar10_32 12.50 ms", done.stdout)
        self.assertEqual(self.results()["autotuner"], {"choices": "chosen\n"})
        self.assertEqual([row["test"] for row in self.data("rows")],  # Hopper's own instructions last
                         ["cuda_norm_float32", "cuda_conv2d_float32", "cuda_conv2d_bfloat16"])
        self.assertEqual([row["test"] for row in self.data("variants")], ["cuda_sm_90_x1_conv2d_bfloat16"])

    def test_without_a_gpu(self):
        self.write("gpu_info", "echo 'no CUDA device: none is visible'; exit 3")
        done = self.run_gpu()
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertEqual(done.stderr, "gpu: no CUDA device: none is visible\n")
        self.assertFalse(self.output.exists())

    def test_wrappers_that_differ_are_named(self):
        self.write("ptx_conformance", """
            case "$*" in
              --list) printf 'mma m16n8k16\\nldmatrix x4\\n' ;;
              '--case 0') printf '%-50s  same\\n' 'mma m16n8k16' ;;
              '--case 1') printf '%-50s  DIFFERS at word 0: 1 on the GPU\\n' 'ldmatrix x4'; exit 1 ;;
            esac""")
        done = self.run_gpu("--parts", "conformance")
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 of 2 agree: not ldmatrix x4 (DIFFERS at word 0: 1 on the GPU)", done.stdout)

    def test_a_wrapper_that_hangs_or_crashes_takes_no_other_with_it(self):
        self.write("ptx_conformance", """
            case "$*" in
              --list) printf 'first\\nsecond\\nthird\\nfourth\\n' ;;
              '--case 0')
                printf 'first      '; echo 'launch a.cu:1 grid 1x1x1' >&2; echo 'stuck: thread 32'; sleep 100 ;;
              '--case 1') printf 'second     '; kill -SEGV $$ ;;
              '--case 2') printf 'third      same\\n' ;;
              '--case 3') printf 'four' ;;
            esac""")
        done = self.run_gpu("--parts", "conformance,steps", "--minutes", "0.1")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.verdicts(), {"conformance": "failed", "steps": "passed"})
        first, second, third, fourth = self.data("conformance")
        self.assertEqual((first["ended"], first["kernel"], first["stuck"]),
                         ("timed out", "a.cu:1 grid 1x1x1", "thread 32"))
        self.assertEqual((second["verdict"], second["ended"]), ("", "failed (-11)"))
        self.assertEqual((third["verdict"], third["ended"]), ("same", "passed"))
        self.assertIn("1 of 4 agree", done.stdout)  # the one that printed half of its name is none of them
        self.assertNotEqual(fourth["verdict"], "same")

    def test_a_failing_operation_is_named_with_its_kernel_and_the_rest_runs(self):
        self.write("test_gpu_ops", PROGRAMS["test_gpu_ops"] + """
            case "$*" in
              *conv2d_float32*)
                [ -n "$IMAGO_PRINT_LAUNCHES" ] && echo 'launch conv2d.cu:60 grid 4x1x1 block 256x1x1 shared 9' >&2
                exit 1 ;;
            esac""")
        done = self.run_gpu("--parts", "rows,steps")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.verdicts(), {"rows": "failed", "steps": "passed"})
        where = "conv2d.cu:60 grid 4x1x1 block 256x1x1 shared 9"
        self.assertIn(f"2 of 3 operations and types pass: not cuda_conv2d_float32 (in {where})", done.stdout)
        page = (self.output / "summary.md").read_text(encoding="utf-8")
        self.assertIn(f"| rows | cuda_conv2d_float32 | failed (1) | failed (1) | {where} | - |", page)

    def test_a_hanging_operation_takes_the_time_of_one_test(self):
        self.write("test_gpu_ops", PROGRAMS["test_gpu_ops"] + '\ncase "$*" in *conv2d_bfloat16*) sleep 100 ;; esac')
        done = self.run_gpu("--parts", "rows,steps", "--minutes", "0.1")
        self.assertEqual(self.verdicts(), {"rows": "timed out", "steps": "passed"})
        self.assertIn("2 of 3 operations and types pass: not cuda_conv2d_bfloat16", done.stdout)

    def test_a_hanging_part_is_ended_with_its_children_and_the_rest_runs(self):
        self.write("ptx_conformance", f"""
            case "$*" in --list) echo first ;; *) sleep 100 & echo $! >{self.folder}/child; echo begun; wait ;; esac""")
        start = time.monotonic()
        done = self.run_gpu("--parts", "conformance,steps,torch", "--minutes", "0.1")
        self.assertLess(time.monotonic() - start, 30)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.verdicts(), {"conformance": "timed out", "steps": "passed", "torch": "passed"})
        self.assert_dead("child")
        self.assertIn("begun", (self.output / "correctness.log").read_text(encoding="utf-8"))

    def test_a_run_that_is_told_to_end_keeps_what_it_has_and_ends_its_children(self):
        self.write("test_gpu_ops", PROGRAMS["test_gpu_ops"] + f"""
            case "$*" in *conv2d_bfloat16*) echo $$ >{self.folder}/child.begun; mv {self.folder}/child.begun \\
              {self.folder}/child; sleep 100 ;; esac""")
        run = self.begin("--parts", "conformance,rows,steps")
        self.wait_for((self.folder / "child").exists)
        run.terminate()
        output, errors = run.communicate(timeout=60)
        self.assertEqual((run.returncode, errors), (1, "gpu: interrupted; what was found is kept\n"))
        self.assertEqual(self.verdicts(), {"conformance": "passed", "rows": "interrupted"})
        self.assertEqual([row["test"] for row in self.data("rows")], ["cuda_norm_float32", "cuda_conv2d_float32"])
        self.assertIn("| rows | interrupted |", (self.output / "summary.md").read_text(encoding="utf-8"))
        self.assert_dead("child")

    def test_a_run_that_is_killed_leaves_every_result_until_then(self):
        self.write("bench_train_step", f"""
            case "$*" in *guided*) echo $$ >{self.folder}/begun; sleep 100 ;; esac
            echo '{STEP}'""")
        run = self.begin("--parts", "conformance,steps")
        self.wait_for((self.folder / "begun").exists)
        run.kill()
        run.communicate(timeout=60)
        os.kill(int((self.folder / "begun").read_text(encoding="utf-8")), 9)
        self.assertEqual(self.verdicts(), {"conformance": "passed", "steps": "running"})
        self.assertEqual([row["network"] for row in self.data("steps")], ["ddpm_cifar10_32"])

    def test_programs_that_print_without_end_and_a_disk_that_is_full(self):
        self.write("bench_gpu_constants", f"{PROGRAMS['bench_gpu_constants']}; yes")
        small = 60_000  # bytes that a file may have from here on
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({small}, {small}))"
        done = self.run_gpu("--parts", "constants,steps,conformance", "--minutes", "0.1",
                            preexec_fn=lambda: exec(limit))  # pylint: disable=exec-used
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, f"gpu: {self.output}/timings.log: File too large; the run goes on without it\n")
        self.assertEqual(self.verdicts(), {"conformance": "passed", "steps": "passed", "constants": "timed out"})
        self.assertEqual(self.data("constants")[0]["value"], 3e12)

    def test_results_that_do_not_fit_leave_the_file_as_it_was(self):
        layers = ", ".join(LAYER % f"layer_{i}" for i in range(1000))
        step = STEP.replace(LAYER % "conv_in", layers)
        self.write("bench_train_step", f"cat <<'EOF'\n{step}\nEOF")
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
        done = self.run_gpu("--parts", "conformance,steps", preexec_fn=lambda: exec(limit))  # pylint: disable=exec-used
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"gpu: {self.output}/results.json: File too large; the run goes on\n", done.stderr)
        self.assertEqual(self.verdicts()["conformance"], "passed")
        self.assertEqual([path.name for path in self.output.iterdir() if path.name.endswith(".begun")], [])

    def test_what_ncu_printed_before_it_was_cut_off_counts(self):
        self.write("ncu", f"head -c -40 <<'EOF'\n{NCU}\nEOF\nexit 9")
        self.run_gpu("--parts", "ncu")
        self.assertEqual(self.verdicts(), {"ncu": "failed (9)"})
        self.assertEqual([row["launches"] for row in self.data("ncu")], [2, 1])

    def test_racecheck_fails_nothing(self):
        self.write("compute-sanitizer", 'case "$*" in *racecheck*) exit 9 ;; esac')
        done = self.run_gpu("--parts", "sanitizer")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("2 of 4 checks pass: not racecheck of cuda_conv2d_bfloat16", done.stdout)
        self.write("compute-sanitizer", 'case "$*" in *memcheck*) exit 9 ;; esac')
        self.assertEqual(self.run_gpu("--parts", "sanitizer").returncode, 1)

    def test_a_compilation_that_takes_too_long_is_told_and_is_no_failure(self):
        self.write("python", 'case "$*" in *--compile*) sleep 100 ;; esac' + PROGRAMS["python"])
        done = self.run_gpu("--parts", "torch", "--minutes", "0.1")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.verdicts(), {"torch": "passed"})
        self.assertIn("ddpm_cifar10_32 eager 25.00 ms", done.stdout)
        self.assertIn("ddpm_cifar10_32 compile timed out", done.stdout)

    def test_an_eager_step_that_takes_too_long_is_a_failure(self):
        self.write("python", 'case "$*" in *unet_torch.py*) sleep 100 ;; esac' + PROGRAMS["python"])
        done = self.run_gpu("--parts", "torch", "--minutes", "0.05")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(self.verdicts(), {"torch": "timed out"})

    def test_a_part_that_is_not_there_is_refused_in_one_line(self):
        done = self.run_gpu("--parts", "steps,foo")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, r"\Agpu: --parts foo: expected some of conformance, [^\n]*\n\Z")

    def test_results_that_differ_fail(self):
        self.write("bench_cuda_libraries", f"echo '{DUEL.replace('true', 'false')}'; exit 1")
        done = self.run_gpu("--parts", "libraries")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.verdicts(), {"libraries": "failed"})
        self.assertIn("0 of 1 agree", done.stdout)
        self.assertIn("1.0e-03 OFF", (self.output / "summary.md").read_text(encoding="utf-8"))

    def test_a_library_and_pytorch_may_be_absent(self):
        missing = '{"missing": "cuDNN", "problem": "no such file"}'
        self.write("bench_cuda_libraries", f"echo '{missing}'; echo '{DUEL}'")
        self.write("python", "exit 1")
        done = self.run_gpu("--parts", "libraries,torch")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(self.verdicts(), {"libraries": "passed", "torch": "absent"})
        self.assertIn("no cuDNN", done.stdout)

    def test_a_program_that_prints_no_result_has_failed(self):
        self.write("bench_train_step", "echo Killed")
        done = self.run_gpu("--parts", "steps")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ddpm_cifar10_32 gave no result", done.stdout)

    def test_a_missing_program_fails_its_part(self):
        (self.programs / "ptx_conformance").unlink()
        done = self.run_gpu("--parts", "conformance,steps")
        self.assertEqual(self.verdicts(), {"conformance": "failed", "steps": "passed"})
        self.assertEqual(done.returncode, 1)

    def test_an_output_that_cannot_be_written(self):
        self.output.write_text("a file", encoding="utf-8")
        done = self.run_gpu()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, f"gpu: --output {self.output}: File exists\n")

    def test_bad_arguments(self):
        for arguments, named in ((["--parts", "steps,nonsense"], "nonsense"), (["--minutes", "-1"], "--minutes")):
            done = self.run_gpu(*arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(named, done.stderr)


if __name__ == "__main__":
    unittest.main()
