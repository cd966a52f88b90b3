"""A browser drives the explorer as a person would; no text of the pool is taken for markup or a script."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import BrowserPage
from explorers import BROKEN, HOSTILE, make_explored_pool

from gdo.pool.query import run_sql

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE = 60_000
"""Milliseconds: the machine may be busy."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_explored_pool(tmp_path_factory.mktemp("explored"))


@pytest.fixture(scope="module")
def address(pool: Path) -> Iterator[str]:
    """The address that `gdo explore --write` prints, while it runs."""
    command = [sys.executable, "-u", "-m", "gdo.cli.main", "explore", str(pool), "--write"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found
            yield found.group(0)
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


@pytest.fixture
def open_page(browser_page: BrowserPage, address: str) -> BrowserPage:
    browser_page.page.set_default_timeout(PATIENCE)
    browser_page.page.goto(address)
    browser_page.page.wait_for_selector(".card")
    return browser_page


def count(page: BrowserPage) -> int:
    """The number of samples that the page says the filter lets through."""
    return int(page.page.inner_text("#count").split(" of ")[0].replace(",", ""))


def wait_until(page: BrowserPage, script: str, argument: Any = None) -> None:
    """Ask until it is so; playwright's own waiting evaluates text in the page, which the page forbids."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(script, argument):
        assert time.monotonic() < end, script
        time.sleep(0.05)


def wait_for_count(page: BrowserPage, wanted: int) -> None:
    script = "n => document.getElementById('count').textContent.startsWith(n + ' of')"
    wait_until(page, script, f"{wanted:,}")


def ask(pool: Path, query: str) -> list[str]:
    return [row[0] for row in run_sql(pool, query).rows]


def test_a_person_looks_through_a_pool(open_page: BrowserPage, pool: Path) -> None:
    page = open_page.page
    assert "token" not in page.url
    wait_until(open_page, "() => [...document.querySelectorAll('.card img')].some(i => i.naturalWidth > 0)")

    videos = ask(pool, "SELECT qa_uid FROM candidate WHERE bucket = 'short_video'")
    page.check("[data-facet=bucket] label:has-text('short_video') input")
    wait_for_count(open_page, len(videos))
    moving = ask(
        pool,
        "SELECT qa_uid FROM candidate WHERE bucket = 'short_video' AND amm > 0.1 "
        "ORDER BY amm DESC NULLS LAST, ordinal",
    )
    page.fill("#where", "amm > 0.1")
    page.press("#where", "Enter")
    wait_for_count(open_page, len(moving))
    page.select_option("#sort", "amm")
    wait_until(open_page, "uid => document.querySelector('.card').dataset.uid === uid", moving[0])

    page.click("#view")
    page.wait_for_selector("#samples tbody tr")
    page.click("#view")
    page.click(".card >> nth=0")
    page.wait_for_selector("#sample[open] .strip img")
    assert page.inner_text("#sample h2") == moving[0]
    wait_until(open_page, "() => document.querySelectorAll('#neighbours .card').length === 12")
    page.click("text=▶ Play")
    wait_until(open_page, "() => document.querySelector('#sample video').readyState >= 2")
    page.select_option("#explain-subset", "temp")
    page.click("#explain")
    page.wait_for_selector("#explained td:has-text('verdict')")
    nearest = page.get_attribute("#neighbours .card >> nth=0", "data-uid")
    page.click("#neighbours .card >> nth=0")
    wait_until(open_page, "uid => document.querySelector('#sample h2')?.textContent === uid", nearest)
    page.click("[aria-label=Close]")
    assert open_page.errors == []


def test_a_filter_becomes_a_subset_and_is_compared(open_page: BrowserPage, pool: Path) -> None:
    page = open_page.page
    page.fill("#where", "bucket = 'image_qa' AND turn = 0")
    page.press("#where", "Enter")
    wanted = ask(pool, "SELECT qa_uid FROM candidate WHERE bucket = 'image_qa' AND turn = 0 ORDER BY ordinal")
    wait_for_count(open_page, len(wanted))
    with page.expect_download() as download:
        page.click("#download-sql")
    sql = download.value.path().read_text()
    page.click("#save")
    page.fill("#save-name", "first-turns")
    page.click("#save-form button >> nth=0")
    page.wait_for_selector("[data-subset='first-turns']", state="attached")
    saved = "SELECT qa_uid FROM subset_sample WHERE subset = 'first-turns' AND role = 'chosen' ORDER BY rank"
    assert ask(pool, saved) == wanted == ask(pool, sql.strip().rstrip(";"))

    page.click("#to-compare")
    page.select_option("#first", '{"subset":"temp","role":"chosen"}')
    page.select_option("#second", '{"subset":"first-turns","role":"chosen"}')
    temp = set(ask(pool, "SELECT qa_uid FROM subset_sample WHERE subset = 'temp' AND role = 'chosen'"))
    only = len(set(wanted) - temp)
    page.wait_for_selector(f"[data-part=second] strong:text-is('{only}')")
    page.click("[data-part=second]")
    wait_for_count(open_page, only)
    assert open_page.errors == []


def test_texts_of_strangers_are_texts(open_page: BrowserPage) -> None:
    page = open_page.page
    page.fill("#where", "media_error IS NOT NULL")
    page.press("#where", "Enter")
    wait_for_count(open_page, 1)
    page.click(f"[data-uid='{BROKEN}']")
    page.wait_for_selector("#sample[open] .turn.ask.here")
    assert page.inner_text("#sample .turn.ask.here") == HOSTILE
    page.wait_for_selector("#sample .bad")
    assert "broken.mp4" not in page.title()
    assert page.title() == "gdo explore"
    assert page.locator("#sample img[src=x]").count() == 0


def test_a_wrong_condition_is_told_and_the_page_goes_on(open_page: BrowserPage) -> None:
    page = open_page.page
    before = count(open_page)
    page.fill("#where", "no_such_column > 1")
    page.press("#where", "Enter")
    page.wait_for_selector("#error:not([hidden])")
    assert "no_such_column" in page.inner_text("#error")
    page.fill("#where", "")
    page.press("#where", "Enter")
    wait_for_count(open_page, before)
    assert page.is_hidden("#error")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(open_page: BrowserPage, scheme: str) -> None:
    page = open_page.page
    page.emulate_media(color_scheme=scheme)
    page.click(".card >> nth=0")
    page.wait_for_selector("#sample[open] table")
    contrast = page.evaluate(_CONTRAST)
    assert min(contrast.values()) >= 4.5, contrast


_CONTRAST = """() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map((c) => c / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    const clear = color === 'transparent' || /, 0\\)$/.test(color);
    return clear && element.parentElement ? ground(element.parentElement) : color;
  };
  const told = {};
  for (const where of ['#pool', '.tab', '.facet .name', '.tally', '.card .question', '.card .answer',
      '.card .foot', '#sample h2', '#sample h3', '#sample td', '#sample th', '.turn.here', 'figcaption']) {
    const element = document.querySelector(where);
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    told[where] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return told;
}"""


def test_nothing_is_asked_of_others(open_page: BrowserPage, address: str) -> None:
    home = address.split("?", maxsplit=1)[0]
    assert open_page.requests
    assert all(asked.startswith(home) for asked in open_page.requests)


def test_it_ends_when_it_is_told_to_and_leaves_nothing(pool: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copy(pool, tmp_path / "pool.duckdb"))
    aside = tmp_path / "tmp"
    aside.mkdir()
    command = [sys.executable, "-u", "-m", "gdo.cli.main", "explore", str(mine)]
    environment = {**os.environ, "TMPDIR": str(aside)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout
        assert "http://127.0.0.1:" in server.stdout.readline()
        assert list(aside.glob("gdo-copy-*"))
        server.terminate()
        assert server.wait(60) == 0
    assert not list(aside.iterdir())
