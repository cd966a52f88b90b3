"""What a run trains on: devices, reading processes, sharding. None of it changes what the run is."""

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gdo.errors import UsageError


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run trains on; not part of what it is.

    Attributes:
        device: auto, cpu or cuda.
        workers: Processes that read samples, for each device; None for all cores but one, at most 8.
        sharding: JSON file for FSDP or DeepSpeed.
        report_to: tensorboard, wandb or others of transformers.
    """

    device: str = "auto"
    workers: int | None = None
    sharding: Path | None = None
    report_to: tuple[str, ...] = ()

    def readers(self, ranks: int) -> int:
        """Processes that read, for each of so many ranks on this machine."""
        if self.workers is not None:
            return self.workers
        return max(1, min(8, (len(os.sched_getaffinity(0)) - 1) // ranks))

    def sharding_arguments(self, *, cpu: bool) -> dict[str, Any]:
        """Arguments of `TrainingArguments` for the sharding file: DeepSpeed where it says so, else FSDP.

        Args:
            cpu: It trains on CPUs.

        Raises:
            UsageError: The file is missing or not JSON, or asks for DeepSpeed where that is not to be had.
        """
        if self.sharding is None:
            return {}
        try:
            told = json.loads(self.sharding.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"--sharding {self.sharding}: {error}") from error
        if "zero_optimization" not in told:
            return {"fsdp": True, "fsdp_config": told}
        if cpu:
            # accelerate would leave it aside there and not say so
            raise UsageError("DeepSpeed needs GPUs; on CPUs take docs/sharding/fsdp2.json")
        if find_spec("deepspeed") is None:
            raise UsageError(f"--sharding {self.sharding} asks for DeepSpeed: pip install deepspeed")
        return {"deepspeed": told}
