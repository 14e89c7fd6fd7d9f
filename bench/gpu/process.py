"""Programs under a time limit, several at once, their output in a log: whatever they do, hang, crash, print
without end or fill the disk, what is known by then is kept."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

KEPT_BYTES = 4 << 20  # of what a program prints, from its beginning
LOGGED_CHARACTERS = 1 << 18


@dataclasses.dataclass
class Finished:
    command: list
    code: int | None  # None: it ran out of time and was ended
    output: str  # what it printed; with a time limit, until then
    errors: str  # the same of its standard error
    seconds: float

    @property
    def passed(self):
        return self.code == 0

    def verdict(self):
        return "passed" if self.passed else "timed out" if self.code is None else f"failed ({self.code})"


class Drain(threading.Thread):
    """Reads a pipe to its end and keeps the beginning."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.kept = pipe, bytearray()
        self.start()

    def run(self):
        with contextlib.suppress(OSError, ValueError):
            while chunk := self.pipe.read1(1 << 16):
                self.kept += chunk[: KEPT_BYTES - len(self.kept)]

    def text(self):
        self.join(timeout=5)  # a driver may hold the pipe's other end
        return bytes(self.kept).decode("utf-8", "replace")


class Runner:
    """Runs programs until `deadline` (of time.monotonic()) and appends what they print to `log`."""

    def __init__(self, log: pathlib.Path, deadline: float, environment: dict):
        self.log = log
        self.deadline = deadline
        self.environment = dict(os.environ, **environment)
        self.lock = threading.Lock()
        self.running = set()
        self.stopped = False
        self.log_failed = False

    def remaining(self):
        return self.deadline - time.monotonic()

    def run(self, command, environment=None, standard_input="", seconds=float("inf")) -> Finished:
        """One program, for so many seconds at most. Its standard error goes to the log."""
        command = [str(word) for word in command]
        start = time.monotonic()
        limit = min(seconds, self.remaining())
        if limit <= 0 or self.stopped:
            return Finished(command, None, "", "", 0)
        try:
            process = subprocess.Popen(command, env=dict(self.environment, **(environment or {})),
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       start_new_session=True)
        except OSError as error:
            output, errors, code = "", f"{error}\n", 127
        else:
            output, errors, code = self.follow(process, standard_input, limit)
        finished = Finished(command, code, output, errors, time.monotonic() - start)
        self.note(finished)
        return finished

    def follow(self, process, standard_input, limit):
        with self.lock:
            self.running.add(process)
        drains = Drain(process.stdout), Drain(process.stderr)
        with contextlib.suppress(OSError):
            process.stdin.write(standard_input.encode())
            process.stdin.close()
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = None
        end_group(process)  # children that it left behind, too
        with self.lock:
            self.running.discard(process)
        return drains[0].text(), drains[1].text(), code

    def note(self, finished):
        text = shortened(finished.output) + shortened(finished.errors)
        entry = f"$ {' '.join(finished.command)}\n{text}[{finished.verdict()}, {finished.seconds:.1f} s]\n\n"
        with self.lock:
            try:
                with self.log.open("a", encoding="utf-8") as log:
                    log.write(entry)
            except OSError as error:
                if not self.log_failed:
                    print(f"gpu: {self.log}: {error.strerror}; the run goes on without it", file=sys.stderr,
                          flush=True)
                self.log_failed = True

    def run_all(self, commands, at_once: int, environment=None, seconds=float("inf")):
        """So many at once. Yields (index of the command, Finished) in the order in which they end."""
        with ThreadPoolExecutor(max(1, at_once)) as pool:
            tasks = {pool.submit(self.run, command, environment, seconds=seconds): i
                     for i, command in enumerate(commands)}
            try:
                for task in as_completed(tasks):
                    yield tasks[task], task.result()
            except BaseException:
                self.stop()
                raise

    def stop(self):
        """Ends what runs and starts nothing more."""
        self.stopped = True
        with self.lock:
            running = list(self.running)
        for process in running:
            end_group(process)


def end_group(process):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


def shortened(text):
    if len(text) <= LOGGED_CHARACTERS:
        return text if not text or text.endswith("\n") else text + "\n"
    return text[:LOGGED_CHARACTERS] + f"\n[and {len(text) - LOGGED_CHARACTERS} characters or more]\n"
