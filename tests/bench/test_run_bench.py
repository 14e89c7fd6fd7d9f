"""The conduct of bench/run_bench.py, with shell scripts in the place of its programs."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import comparison  # noqa: E402
import evaluation_page  # noqa: E402
import performance_page  # noqa: E402
import svg  # noqa: E402


def row(name, milliseconds, counter):
    return {"name": name, "run_name": f"{name}/process_time/real_time", "run_type": "iteration",
            "real_time": milliseconds, **counter}


def kernels(conv_ms):
    conv = {"FLOP/s": 2e9 / (conv_ms * 1e-3), "bytes/s": 1e9, "per_step": 7}
    return json.dumps({"benchmarks": [row("limit/fma", 4, {"FLOP/s": 1e11}), row("limit/copy", 100, {"bytes/s": 2e10}),
                                      row("conv2d/1x2", conv_ms, conv), row("conv2d/1x2", conv_ms, conv),
                                      row("conv2d/1x2/onednn", 2 * conv_ms, {"FLOP/s": 1e9, "per_step": 7})]})


STEP = '{"program": "%s", "parameters": %d, "step_s_median": %s, "step_s_min": %s, "step_s_max": %s, "peak_rss_mib": 100}'


TRAIN = """case "$*" in *--plan*) echo 'all memory, without scratch space  1.50 GiB'; exit ;; esac
while [ "$1" != --output_dir ]; do shift; done
mkdir "$2"
sleep 0.2
echo '{"step":1,"seconds":0.1}' >"$2/metrics.jsonl"
"""


def step(who, seconds, parameters=5):
    return STEP % (who, parameters, seconds, seconds, seconds)


class RunBench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.write("bench_kernels", f"echo '{kernels(10)}'")
        self.write("bench_train_step", f"echo '{step('imago', 0.5)}'")
        self.write("bench_decode", "echo '{\"seconds\": 0.5, \"checksums\": 7}'")
        self.write("python", f"case \"$*\" in *decode_pillow*) echo '{{\"seconds\": 0.6, \"checksums\": 7}}' ;; *channels_last*) echo '{step('torch', 0.75)}' ;; "
                             f"*) echo '{step('torch', 1.0)}' ;; esac")

        self.write("train_ddpm", TRAIN)

    def write(self, name, script):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def bench(self, *arguments):
        command = [sys.executable, "-B", str(BENCH / "run_bench.py"), "--programs", str(self.folder), "--quick",
                   "--output", str(self.folder / "out.json"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def results(self):
        return json.loads((self.folder / "out.json").read_text(encoding="utf-8"))

    def test_writes_what_was_measured_and_on_what(self):
        done = self.bench()
        self.assertEqual(done.returncode, 0, done.stderr)
        found = self.results()
        for key in ("date", "commit", "command", "machine", "threads", "noise"):
            self.assertIn(key, found)
        ours = next(r for r in found["kernels"] if r["program"] == "imago")
        self.assertEqual(ours["samples"], [0.01, 0.01])
        self.assertAlmostEqual(ours["flops"], 2e9)
        self.assertIn("| conv2d/1x2 | 7 | 70.00 | 10.000 | 200 GFLOP/s | 200 % | 2.00 |", done.stdout)

    def test_pytorch_runs_in_turns_and_its_best_setting_is_found(self):
        done = self.bench("--parts", "steps", "--python", self.folder / "python", "--rounds", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        one = self.results()["steps"][0]
        self.assertEqual(len(one["rounds"]), 2)
        self.assertIn("channels_last", one["best"])
        self.assertIn("1.50 (1.50 to 1.50)", done.stdout)
        self.assertIn("2.00 (2.00 to 2.00)", done.stdout)

    def test_decoding_runs_beside_pillow_and_says_whether_pixels_agree(self):
        done = self.bench("--parts", "decode", "--python", self.folder / "python")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| 1000 PNG files of 128x128 | 0.50 | 0.60 | 1.20 (1.20 to 1.20) | the same |", done.stdout)
        self.write("bench_decode", "echo '{\"seconds\": 0.5, \"checksums\": 8}'")
        self.assertIn("others", self.bench("--parts", "decode", "--python", self.folder / "python").stdout)

    def test_training_says_when_it_began_and_what_the_plan_was_worth(self):
        done = self.bench("--parts", "training")
        self.assertEqual(done.returncode, 0, done.stderr)
        row = self.results()["training"][0]
        self.assertEqual(row["planned_mib"], 1536)
        for one in row["rounds"]:
            self.assertGreaterEqual(one["start_s"], 0.1)
            self.assertGreater(one["peak_rss_mib"], 0)
        self.write("train_ddpm", f"{TRAIN}\nexit 1")
        done = self.bench("--parts", "training")
        self.assertEqual(done.returncode, 1)
        self.assertIn("train_ddpm", done.stderr)

    def test_refuses_to_compare_different_networks(self):
        self.write("python", f"echo '{step('torch', 1.0, parameters=6)}'")
        done = self.bench("--parts", "steps", "--python", self.folder / "python")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not the same network", done.stderr)
        self.assertFalse((self.folder / "out.json").exists())

    def test_against_flags_what_got_slower(self):
        self.bench("--parts", "kernels", "--output", self.folder / "before.json")
        self.assertEqual(self.bench("--parts", "kernels", "--against", self.folder / "before.json").returncode, 0)
        self.write("bench_kernels", f"echo '{kernels(12)}'")
        done = self.bench("--parts", "kernels", "--against", self.folder / "before.json")
        self.assertEqual(done.returncode, 1)
        self.assertIn("SLOWER conv2d/1x2: 10.000 ms -> 12.000 ms", done.stdout)

    def test_bad_arguments_are_one_line(self):
        (self.folder / "broken.json").write_text("{", encoding="utf-8")
        for arguments, words in ((("--parts", "kernel"), "expected some of"), (("--rounds", 0), "--rounds"),
                                 (("--against", self.folder / "none.json"), "No such file"),
                                 (("--against", self.folder / "broken.json"), "expected a file that this program wrote")):
            done = self.bench(*arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_a_program_that_fails_is_named(self):
        self.write("bench_kernels", "echo 'no such option' >&2; exit 2")
        done = self.bench("--parts", "kernels")
        self.assertEqual(done.returncode, 1)
        self.assertIn("bench_kernels", done.stderr)
        self.assertIn("no such option", done.stderr)


class Comparison(unittest.TestCase):
    @staticmethod
    def results(samples):
        return {"limits": [], "steps": [], "kernels": [{"operation": "add", "program": "imago", "samples": samples}]}

    def test_noise_of_both_runs_excuses(self):
        noisy, slower = self.results([1.0, 1.4]), self.results([1.3, 1.5])
        self.assertFalse(comparison.compare(noisy, slower)[0])
        self.assertTrue(comparison.compare(self.results([1.0, 1.01]), self.results([1.3, 1.31]))[0])

    def test_noise_is_the_range_of_the_limit(self):
        limits = [{"name": "limit/fma", "rate": "FLOP/s", "samples": [90.0, 100.0, 110.0]}]
        self.assertAlmostEqual(comparison.noise_of(limits), 0.2)


class Page(unittest.TestCase):
    def test_is_what_the_result_files_say(self):
        for page in (performance_page, evaluation_page):
            for path, text in page.pages().items():
                self.assertEqual(path.read_text(encoding="utf-8"), text, f"{path}: run python3 bench/{page.__name__}.py")

    def test_ticks_are_round_and_reach_the_end(self):
        self.assertEqual(svg.ticks(10.5), [0, 2, 4, 6, 8, 10])
        self.assertEqual(svg.ticks(0.5), [0, 0.1, 0.2, 0.30000000000000004, 0.4, 0.5])


if __name__ == "__main__":
    unittest.main()
