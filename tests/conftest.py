"""What all tests share: the shared data, the opt-in markers, the versions that matter."""

import os
from importlib.metadata import version
from pathlib import Path

import pytest
from browser import browser_page, browser_session

from gdo.selectors import cache

__all__ = ["browser_page", "browser_session"]

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_report_header() -> str:
    packages = ("duckdb", "polars", "pyarrow", "numpy", "av", "decord2", "opencv-python-headless")
    return ", ".join(f"{name} {version(name)}" for name in packages)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow") or os.environ.get("CI"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: give --slow to run it"))


@pytest.fixture(scope="session", autouse=True)
def _cache_all() -> None:
    """Selection caches the smallest pools too."""
    cache.MIN_SAMPLES = 1


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; CI must have it, a plain clone need not."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the shared data at {SHARED}")
        pytest.skip(f"no shared data at {SHARED}")
    return SHARED
