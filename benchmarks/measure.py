"""Running a command from outside: seconds, and the peak memory of its whole process tree."""

import json
import os
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Measured:
    """One finished command."""

    seconds: float
    peak_mb: float
    """Highest sum of the resident memory of all its processes; shared pages count once per process."""
    output: str


def run_measured(command: list[str], env: dict[str, str] | None = None) -> Measured:
    """Run a command to its end; raises with its output where it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(env or {})},
    )
    peak = 0

    def watch() -> None:
        nonlocal peak
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            total = 0
            try:
                for member in (tree, *tree.children(recursive=True)):
                    total += member.memory_info().rss
            except psutil.Error:
                pass
            peak = max(peak, total)
            time.sleep(SAMPLE_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = process.communicate()[0]
    seconds = time.perf_counter() - started
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {process.returncode}:\n{output}")
    return Measured(seconds, peak / 1e6, output)


def write_json(path: Path | None, figures: object) -> None:
    """Write figures beside what was printed, whole or not at all."""
    if path is None:
        return
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(json.dumps(figures, indent=2, default=asdict) + "\n")
    aside.replace(path)


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    memory = psutil.virtual_memory().total
    return {"cores": os.cpu_count(), "memory_gb": round(memory / 1e9, 1), "load": os.getloadavg()[0]}
