"""The command that shows a pool in a browser: explore."""

from typing import Annotated

import typer

from gdo.cli.data import PoolPath


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("explore")(explore)


def explore(
    pool: PoolPath,
    port: Annotated[
        int, typer.Option(help="Where to listen on 127.0.0.1; default any that is free.", min=0, max=65535)
    ] = 0,
    write: Annotated[bool, typer.Option("--write", help="Let filters be saved as subsets.")] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the address in a browser.")] = False,
) -> None:
    """Look through a pool in a browser on this machine."""
    from gdo.errors import UsageError

    try:
        from gdo.explore.serve import explore as run
    except ModuleNotFoundError as error:
        raise UsageError(f"gdo explore needs {error.name}: pip install 'gdo[explore]'") from error

    def tell(address: str) -> None:
        typer.echo(f"{pool} is open at {address}\nCtrl-C ends it.")
        if open_browser:
            typer.launch(address)

    run(pool, port=port, writes=write, told=tell)
