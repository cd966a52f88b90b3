"""`gdo explore`: copies the pool, and serves its pages on this machine until it is stopped."""

import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn

from gdo.errors import UsageError
from gdo.explore.app import make_app
from gdo.explore.state import Explorer

HOST = "127.0.0.1"
"""The only address it listens on."""


def explore(
    pool: Path | str,
    *,
    port: int = 0,
    writes: bool = False,
    told: Callable[[str], None] = print,
) -> None:
    """Serve a pool to a browser on this machine, until it is interrupted.

    Args:
        pool: The pool's file; it is read once and let go of.
        port: Where to listen; 0 for any that is free.
        writes: Whether subsets may be saved.
        told: Called with the address to open, token included.

    Raises:
        UsageError: There is no such pool, or the port is taken.
        GdoError: The pool cannot be opened.
    """
    with suppress(KeyboardInterrupt), _ended_by_term(), _tcp_socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError as error:
            raise UsageError(f"port {port} of {HOST} cannot be had: {error.strerror}") from error
        with Explorer(pool, writes=writes) as explorer:
            token = secrets.token_urlsafe(24)
            app = make_app(explorer, token)
            explorer.warm()
            told(f"http://{HOST}:{listening.getsockname()[1]}/?token={token}")
            config = uvicorn.Config(
                app, log_level="warning", server_header=False, timeout_graceful_shutdown=1
            )
            uvicorn.Server(config).run([listening])


def _tcp_socket() -> socket.socket:
    """A socket that says it is TCP; of others, asyncio holds back the second half of an answer for 40 ms."""
    return socket.socket(proto=socket.IPPROTO_TCP)


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that the copy of the pool is removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
