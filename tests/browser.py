"""A headless browser for tests of pages: Debian's chromium, driven by playwright.

`conftest.py` gives the fixtures to all tests; those that use them are marked `browser`.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = "/usr/bin/chromium"
PATIENCE = 120_000
"""Milliseconds; machines that run other tests beside are slow."""
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class BrowserPage:
    """A page, and what it did that a test should know of.

    Attributes:
        page: Playwright's page.
        errors: Console errors and uncaught exceptions, as text.
        requests: Addresses of everything asked for, `data:` and `blob:` left out.
    """

    page: "Page"
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """What a piece of JavaScript gives in the page."""
        return self.page.evaluate(script, argument)


def _need(there: object, what: str) -> None:
    """Skip where something is missing; fail under CI, which must have it."""
    if there:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI needs {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def browser_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all tests of a process, in a profile of its own."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None  # type: ignore[assignment]
    _need(sync_playwright, "the package playwright (extra dev)")
    found = CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium")
    _need(found, "chromium (Debian: apt-get install chromium)")
    profile = tmp_path_factory.mktemp("chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=found,
            headless=True,
            args=list(_QUIET),
            viewport={"width": 1280, "height": 900},
        )
        yield context
        context.close()


@pytest.fixture
def browser_page(browser_session: Any) -> Iterator[BrowserPage]:
    """A fresh page that notes console errors, uncaught exceptions and requests."""
    page = browser_session.new_page()
    page.set_default_timeout(PATIENCE)
    seen = BrowserPage(page)
    page.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith(("data:", "blob:", "about:")) else seen.requests.append(asked.url)
        ),
    )
    yield seen
    page.close()
