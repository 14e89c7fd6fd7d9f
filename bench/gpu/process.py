"""Programs under a time limit, several at once, their output in a log."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor


@dataclasses.dataclass
class Finished:
    command: list
    code: int | None  # None: it ran out of time and was ended
    output: str  # what it printed; with a time limit, until then
    seconds: float

    @property
    def passed(self):
        return self.code == 0

    def verdict(self):
        return "passed" if self.passed else "timed out" if self.code is None else f"failed ({self.code})"


class Runner:
    """Runs programs until `deadline` (of time.monotonic()) and appends what they print to `log`."""

    def __init__(self, log: pathlib.Path, deadline: float, environment: dict):
        self.log = log
        self.deadline = deadline
        self.environment = dict(os.environ, **environment)
        self.lock = threading.Lock()

    def remaining(self):
        return self.deadline - time.monotonic()

    def run(self, command, environment=None, standard_input=None, seconds=float("inf")) -> Finished:
        """One program, for so many seconds at most. Its standard error goes to the log alone."""
        command = [str(word) for word in command]
        start = time.monotonic()
        limit = min(seconds, self.remaining())
        if limit <= 0:
            return Finished(command, None, "", 0)
        try:
            process = subprocess.Popen(command, env=dict(self.environment, **(environment or {})),
                                       stdin=subprocess.PIPE if standard_input else subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                       start_new_session=True)
        except OSError as error:
            output, errors, code = "", str(error), 127
        else:
            try:
                output, errors = process.communicate(standard_input, timeout=limit)
                code = process.returncode
            except subprocess.TimeoutExpired:
                code = None
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with its children
                try:
                    output, errors = process.communicate(timeout=5)
                except subprocess.TimeoutExpired:  # a driver may hold it
                    output, errors = "", "it cannot be ended\n"
        finished = Finished(command, code, output, time.monotonic() - start)
        with self.lock, self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n{output}{errors}")
            log.write(f"[{finished.verdict()}, {finished.seconds:.1f} s]\n\n")
        return finished

    def run_all(self, commands, at_once: int, environment=None) -> list:
        """So many at once; the results in the order of the commands."""
        with ThreadPoolExecutor(max(1, at_once)) as pool:
            return list(pool.map(lambda command: self.run(command, environment), commands))
