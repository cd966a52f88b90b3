"""Figures of training runs as tables for the terminal.

They come as plain mappings: reporting and training stand beside each other and do not know one another.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from gdo.report.tables import table

SHOWN_NAMED = 20
"""Samples named one by one."""
OUTCOMES = ("wanted", "trained", "cut", "dropped", "skipped")


def train_tables(report: Mapping[str, Any]) -> RenderableType:
    """The checkpoints of a run, its throughput, and what became of the samples.

    Args:
        report: A `gdo.train.run.TrainReport` as a mapping.
    """
    names = ("samples", "tokens", "frames", "seconds", "held_out_loss")
    checkpoints = table(
        f"Trained: {report['path']}",
        ["checkpoint", *(f"{name.replace('_', ' ')}>" for name in names)],
        [(Path(c["path"]).name, *(c[name] for name in names)) for c in report["checkpoints"]],
    )
    mfu = f", MFU {report['mfu']:.1%}" if report["mfu"] is not None else ""
    rates = f"{report['samples_per_s']:,.1f} samples/s, {report['tokens_per_s']:,.0f} tokens/s{mfu}"
    check = report["check"]
    counts = [(source, *(told.get(name, 0) for name in OUTCOMES)) for source, told in check["counts"].items()]
    parts: list[RenderableType] = [checkpoints, Text(rates), Text()]
    parts.append(table("Ledger against data", ["source", *(f"{name}>" for name in OUTCOMES)], counts))
    odd = [(uid, what, None) for what in ("missing", "twice", "extra") for uid in check[what]]
    odd += check["named"]
    if odd:
        parts += [
            Text(),
            table("By name", ["sample", "outcome", "reason"], odd[:SHOWN_NAMED]),
        ]
    if len(odd) > SHOWN_NAMED:
        parts.append(Text(f"... and {len(odd) - SHOWN_NAMED:,} more; run.json there names them all"))
    return Group(*parts)
