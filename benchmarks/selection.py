"""From cold files to a subset: seconds, pairs a second, peak memory, and how they grow with the pool.

    python benchmarks/selection.py [--pairs 165000 --pairs 1000000] [--folder DIR] [--json FILE]

At the first size a plain one-process Python program does the same work in the same run (it reads the files
anew for every preset, as the released code does), so that the ratios do not depend on the machine. At the
other sizes it stands in by its own time per pair unless `--plain-everywhere` measures it there too.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from make_pool import MadePool, make_pool
from measure import Measured, machine, run_measured, write_json
from rich.console import Console
from rich.table import Table

PRESETS = ("minloss", "diverse", "temp", "temp_plus")
COLD = Path(__file__).with_name("cold_path.py")
PLAIN = Path(__file__).with_name("plain_selection.py")
GDO = [sys.executable, "-m", "gdo.cli.main"]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pairs", type=int, action="append", help="a pool size; default 165,000 and a million"
    )
    parser.add_argument("--folder", type=Path, help="keep the generated pools here; default a temporary one")
    parser.add_argument("--plain-everywhere", action="store_true", help="run the plain program at all sizes")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    sizes = arguments.pairs or [165_000, 1_000_000]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        results = []
        for number, pairs in enumerate(sizes):
            plain = number == 0 or arguments.plain_everywhere
            results.append(_measure(make_pool(folder / str(pairs), pairs), folder / "work", plain))
            _show(results)
    write_json(arguments.json, {"machine": machine(), "sizes": results})


def _measure(made: MadePool, work: Path, plain: bool) -> dict:
    """All steps on one pool, each a process of its own, from nothing."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    pool = str(work / "pool.duckdb")
    steps: dict[str, Measured] = {
        "ingest": run_measured([*GDO, "ingest", pool, str(made.images), str(made.videos)]),
        "import": run_measured([*GDO, "import-descriptors", pool, str(made.metrics)]),
        "select temp": run_measured([*GDO, "select", pool, "--preset", "temp"]),
        "export": run_measured([*GDO, "export", pool, "temp", "-o", str(work / "temp")]),
    }
    for preset in PRESETS:
        steps[f"select {preset}, again"] = run_measured([*GDO, "select", pool, "--preset", preset])
    files = [str(made.images), str(made.videos), str(made.metrics)]
    for name, presets in (("cold, one preset", ("temp",)), ("cold, four presets", PRESETS)):
        folder = work / name
        folder.mkdir()
        steps[name] = run_measured([sys.executable, str(COLD), str(folder), *files, *presets])
    again = [steps[f"select {preset}, again"].seconds for preset in PRESETS]
    result = {
        "pairs": made.pairs,
        "input_mb": made.megabytes,
        "pool_mb": Path(pool).stat().st_size / 1e6,
        "steps": steps,
        "one_preset_cold": steps["cold, one preset"].seconds,
        "four_presets_cold": steps["cold, four presets"].seconds,
        "another_preset": sum(again) / len(again),
    }
    if plain:
        result["plain"] = run_measured(
            [sys.executable, str(PLAIN), *files, "--preset", "temp", "-o", str(work / "plain.jsonl")]
        )
    return result


def _show(results: list[dict]) -> None:
    """Print the newest size, and the growth from the one before."""
    console, result = Console(width=110), results[-1]
    pairs = result["pairs"]
    table = Table(
        title=f"{pairs:,} pairs, {result['input_mb']:,.0f} MB of JSONL, pool {result['pool_mb']:,.0f} MB"
    )
    for column in ("step", "seconds", "pairs/s", "peak MB"):
        table.add_column(column, justify="left" if column == "step" else "right")
    plain = {"plain program, one preset": result["plain"]} if "plain" in result else {}
    rows = {**result["steps"], **plain}
    for name, step in rows.items():
        table.add_row(name, f"{step.seconds:.2f}", f"{pairs / step.seconds:,.0f}", f"{step.peak_mb:,.0f}")
    console.print(table)
    for line in _ratios(results):
        console.print(line)


def _ratios(results: list[dict]) -> list[str]:
    result = results[-1]
    measured = "plain" in result
    plain_per_pair = results[0]["plain"].seconds / results[0]["pairs"]
    plain = result["plain"].seconds if measured else plain_per_pair * result["pairs"]
    told = "measured here" if measured else f"at its speed with {results[0]['pairs']:,} pairs"
    result["ratios"] = {
        "one_preset_cold": plain / result["one_preset_cold"],
        "four_presets_cold": len(PRESETS) * plain / result["four_presets_cold"],
        "another_preset": plain / result["another_preset"],
    }
    lines = [f"against the plain program ({plain:.1f} s a preset, {told}):"]
    lines += [
        f"  {name.replace('_', ' ')}: {result[name]:.2f} s, {ratio:.1f} times as fast"
        for name, ratio in result["ratios"].items()
    ]
    if len(results) > 1:
        before = results[-2]
        growth = result["pairs"] / before["pairs"]
        for name in ("ingest", "import", "select temp", "export"):
            times = result["steps"][name].seconds / before["steps"][name].seconds
            lines.append(f"  growth of {name}: {times:.2f} times for {growth:.2f} times the pairs")
    return lines


if __name__ == "__main__":
    main()
