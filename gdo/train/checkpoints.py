"""The checkpoints of a run: what a whole one is, which there are, and how one is loaded to be asked."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from gdo.errors import UsageError
from gdo.pool.atomic import write_aside

MARK = "gdo.json"
"""Written last: a folder without it is half of a checkpoint."""
_RESUMES = ("optimizer*", "scheduler.pt", "rng_state*", "scaler.pt", "global_step*", "pytorch_model_fsdp*")
"""What only serves to go on training, by far the larger part of a checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One whole checkpoint; counts are from the run's beginning, over all devices.

    Attributes:
        path: Its folder, which `load_checkpoint` takes.
        step: Steps done.
        samples: Samples trained on.
        tokens: Theirs, media included.
        answer_tokens: Those that were learned.
        frames: Pictures shown.
        flops: Operations of the model.
        seconds: Time of training, without loading and saving.
        held_out_loss: Mean cross-entropy of the held-out samples' answers in nats; None without any.
    """

    path: Path
    step: int
    samples: int
    tokens: int
    answer_tokens: int
    frames: int
    flops: float
    seconds: float
    held_out_loss: float | None


def list_checkpoints(run: Path | str) -> list[Checkpoint]:
    """The whole checkpoints of a run, first to last."""
    found = []
    for mark in Path(run).glob(f"checkpoint-*/{MARK}"):
        found.append(Checkpoint(mark.parent, **orjson.loads(mark.read_bytes())))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def mark_whole(checkpoint: Checkpoint) -> None:
    """Declare a checkpoint whole, and drop what earlier ones keep for going on."""
    told = {name: value for name, value in asdict(checkpoint).items() if name != "path"}
    write_aside(checkpoint.path / MARK, lambda path: path.write_bytes(orjson.dumps(told)))
    _drop_earlier_states(checkpoint.path.parent)


def _drop_earlier_states(run: Path) -> None:
    """Remove what all checkpoints but the last keep for going on."""
    for earlier in list_checkpoints(run)[:-1]:
        for pattern in _RESUMES:
            for path in earlier.path.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def drop_halves(run: Path) -> None:
    """Remove what was being written, or about to be removed, when the run was killed."""
    for folder in run.glob("checkpoint-*"):
        if not (folder / MARK).exists():
            shutil.rmtree(folder)
    for half_written in run.glob("**/.*.part"):
        half_written.unlink()
    _drop_earlier_states(run)


def resolve_model(model: str) -> str:
    """A run's folder as its last checkpoint, for training in stages; anything else as it is.

    Raises:
        UsageError: The run has no checkpoint, or that holds LoRA adapters alone.
    """
    folder = Path(model)
    if (folder / "run.json").exists():
        checkpoints = list_checkpoints(folder)
        if not checkpoints:
            raise UsageError(f"{model} is a run without a checkpoint; train it first")
        folder = checkpoints[-1].path
    if (folder / "adapter_config.json").exists():
        raise UsageError(
            f"{folder} holds LoRA adapters, not a model; merge them first "
            "(gdo.train.checkpoints.load_checkpoint gives a merged model to save)"
        )
    return str(folder.resolve()) if folder.is_dir() else model


def load_checkpoint(path: Path | str, *, device: str = "cpu") -> tuple[Any, Any]:
    """Load a checkpoint's model, adapters merged, and its processor; bf16 on CUDA, float32 on a CPU.

    Args:
        path: A checkpoint's folder.
        device: Where to.

    Returns:
        The model, set to evaluation, and the processor.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from gdo.descriptors.probe.vision import group_pictures

    folder = Path(path)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    adapters = folder / "adapter_config.json"
    source = orjson.loads(adapters.read_bytes())["base_model_name_or_path"] if adapters.exists() else folder
    model: Any = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype, attn_implementation="sdpa")
    if adapters.exists():
        from peft import PeftModel

        from gdo.train.parts import quiet_peft

        with quiet_peft():
            model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    group_pictures(model)
    return model.to(device).eval(), AutoProcessor.from_pretrained(folder)
