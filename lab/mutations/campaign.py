"""Builds a mutant beside a finished build, and runs its rows of the op table in emulation. No source is touched:
the mutated file lies in a folder that the compiler looks into first."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile

SEEDS = range(6)
MOST_SECONDS = 300  # of one run of the rows


class Build:
    """What a build folder knows of one program of emulated kernels: how each kernel file is compiled, what it
    includes, and how the program is linked."""

    def __init__(self, folder, root, sanitizer=""):
        suffix = f"_{sanitizer}" if sanitizer else ""
        self.folder, self.root = folder, root
        self.library = f"imago_cuda_on_cpu{suffix}"
        self.program = f"test_cuda_ops{suffix}"
        self.seeds = (1,) if sanitizer else SEEDS
        self.compile = self.compile_commands()
        self.includes = self.dependencies()
        self.link = self.link_command()

    def ninja(self, *words):
        command = ["ninja", "-C", str(self.folder), *words]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

    def compile_commands(self):
        found = {}
        for entry in json.loads((self.folder / "compile_commands.json").read_text(encoding="utf-8")):
            words = shlex.split(entry["command"])
            output = words[words.index("-o") + 1]
            if f"/{self.library}.dir/" in output and entry["file"].endswith(".cu"):
                found[output] = [word for word in words if not word.startswith("-Werror")]
        return found

    def dependencies(self):
        found, output = {}, None
        for line in self.ninja("-t", "deps").splitlines():
            if not line.startswith(" "):
                output = line.split(":")[0]
            elif output in self.compile:
                found.setdefault(output, set()).add(os.path.normpath(self.folder / line.strip()))
        return found

    def link_command(self):
        command = self.ninja("-t", "commands", self.program).splitlines()[-1]
        return shlex.split(re.sub(r"^: && ", "", command).split(" && ")[0])

    def build(self, mutant, folder):
        """The program with the mutant in it, or None where it does not compile."""
        overlay, objects = folder / "overlay", []
        place = overlay / "kernels/cuda" / mutant.path
        place.parent.mkdir(parents=True)
        place.write_text(mutant.text, encoding="utf-8")
        original = str(self.root / "kernels/cuda" / mutant.path)
        for output in (output for output, files in self.includes.items() if original in files):
            words = list(self.compile[output])
            target = folder / f"{len(objects)}.o"
            words[words.index("-o") + 1] = str(target)
            source = words.index("-c") + 1
            words[source] = str(place) if words[source] == original else words[source]
            if subprocess.run([words[0], f"-I{overlay}", "-w", *words[1:]], cwd=self.folder, check=False,
                              stderr=subprocess.DEVNULL).returncode != 0:
                return None
            objects.append(str(target))
        words = list(self.link)
        program = folder / self.program
        words[words.index("-o") + 1] = str(program)
        words[words.index("-o") : words.index("-o")] = objects  # before the library: their symbols win
        linked = subprocess.run(words, cwd=self.folder, check=False)
        return program if linked.returncode == 0 else None

    def verdict(self, program, rows):
        """"" where all schedules pass; else which one does not, and how it ends."""
        for seed in self.seeds:
            said = run_rows(program, rows, seed)
            if said:
                return f"{'TSan, ' if self.library.endswith('tsan') else ''}schedule {seed}: {said}"
        return ""


def run_rows(program, rows, seed):
    tests = ":".join(f"*KeepsItsContract/cuda_on_cpu_{backend}{row}" for row in rows
                     for backend in ("", "sm_80_x1_", "sm_90_x1_", "sm_90_x4_"))
    command = [str(program), "--gtest_brief=1", "--gtest_fail_fast", f"--gtest_filter={tests}"]
    environment = dict(os.environ, IMAGO_EMU_SEED=str(seed), TSAN_OPTIONS="halt_on_error=1")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", start_new_session=True) as process:
        try:
            output = process.communicate(timeout=MOST_SECONDS)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"still runs after {MOST_SECONDS} s"
    if process.returncode == 0:
        if "[  PASSED  ] 0 tests" in output or "PASSED" not in output:
            raise RuntimeError(f"no row of the op table runs for {', '.join(rows)}")
        return ""
    report = re.search(r"cuda_on_cpu: (.*)|(WARNING: ThreadSanitizer: [a-z ]*)", output)
    return (report[1] or report[2]).strip()[:110] if report else "wrong result"


def judge(mutant, builds):
    """How a mutant is caught; "" where no build catches it."""
    for build in builds:
        with tempfile.TemporaryDirectory() as folder:
            program = build.build(mutant, pathlib.Path(folder))
            if program is None:
                return "does not compile"
            said = build.verdict(program, mutant.rows())
            if said:
                return said
    return ""
