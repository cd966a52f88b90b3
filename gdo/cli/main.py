"""The `gdo` command: its sub-commands, and how errors become messages and exit codes."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from gdo import __version__
from gdo.cli import data, duplicates, evaluate, explore, report, sparrow, subsets, train
from gdo.errors import GdoError, UsageError

app = typer.Typer(
    name="gdo",
    help="Pick the image and video samples worth fine-tuning a multimodal model on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (data, duplicates, evaluate, explore, report, sparrow, subsets, train):
    module.register(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"gdo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Pick the image and video samples worth fine-tuning a multimodal model on."""


def main() -> None:
    """Run the command line: exit code 0 done, 1 the work failed, 2 wrong use."""
    if isinstance(sys.stdout, TextIOWrapper):  # a letter that the terminal's encoding lacks is told by number
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except UsageError as error:
        sys.exit(_tell(error, 2))
    except GdoError as error:
        sys.exit(_tell(error, 1))
    except OSError as error:
        sys.exit(_tell(error, 1))
    except Exception as error:
        # DuckDB is not loaded before it is used; its errors are told, and what polars tells of the system's.
        # Anything else is a bug to be seen.
        module = type(error).__module__
        of_system = module.startswith("polars") and "os error" in str(error)
        if not (of_system or module.startswith(("duckdb", "_duckdb"))):
            raise
        sys.exit(_tell(error, 1))
    except KeyboardInterrupt:
        typer.echo("stopped; run the same command again to go on", err=True)
        sys.exit(130)


def _tell(error: Exception, code: int) -> int:
    typer.echo(f"error: {error}", err=True)
    return code


if __name__ == "__main__":
    main()
