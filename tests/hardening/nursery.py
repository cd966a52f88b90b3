"""Commands in processes that can be killed: one process loads what they need, and forks a child for each."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
PATHS = (HERE, HERE.parent, HERE.parents[1], HERE.parents[1] / "benchmarks")


class Nursery:
    """A process that forks children; it has loaded the modules named."""

    def __init__(self, log: Path, *modules: str, threads: int = 1) -> None:
        self.log = log
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        environment["POLARS_MAX_THREADS"] = str(threads)
        environment["PYTHONPATH"] = os.pathsep.join(map(str, PATHS))
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=environment,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, function: str, *arguments: Any, seconds: float | None = None) -> tuple[int, float]:
        """Run `module:function` in a child, killed after so many seconds; its exit code, and its time.

        As of subprocesses, the code of one that was killed is minus the signal.
        """
        self.begin(function, *arguments, seconds=seconds)
        return self.end()

    def begin(self, function: str, *arguments: Any, seconds: float | None = None) -> None:
        """Start a child; the next call must be `end`."""
        assert self._process.stdin
        asked = {"function": function, "arguments": arguments, "seconds": seconds}
        self._process.stdin.write(json.dumps(asked, default=str) + "\n")
        self._process.stdin.flush()

    def end(self) -> tuple[int, float]:
        """Wait for the child; see `run`."""
        assert self._process.stdout
        code, took = json.loads(self._process.stdout.readline())
        return int(code), float(took)

    def did(self, function: str, *arguments: Any) -> float:
        """Run to the end, which must be a good one; the time it took."""
        code, took = self.run(function, *arguments)
        assert code == 0, f"{function} ended with {code}:\n{self.log.read_text()[-3000:]}"
        return took


def _child(function: str, arguments: list[Any]) -> None:
    """Never returns."""
    module, name = function.split(":")
    code = 1
    try:
        os.dup2(2, 1)
        getattr(importlib.import_module(module), name)(*arguments)
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _watch(child: int, seconds: float | None) -> tuple[int, float]:
    started = time.monotonic()
    while True:
        ended, status = os.waitpid(child, 0 if seconds is None else os.WNOHANG)
        took = time.monotonic() - started
        if ended:
            return os.waitstatus_to_exitcode(status), took
        if seconds is not None and took >= seconds:
            os.kill(child, signal.SIGKILL)
            seconds = None
        time.sleep(0.001)


def _serve() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            _child(asked["function"], asked["arguments"])
        print(json.dumps(_watch(child, asked["seconds"])), flush=True)


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    _serve()
