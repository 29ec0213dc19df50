"""The page as people have it: `dwm drive` with its own weights, in a real browser, by real keys. Skipped without Chromium."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("websockets", reason="dwm[drive] is not installed")
pytest.importorskip("uvicorn", reason="dwm[drive] is not installed")
pytest.importorskip("panda3d", reason="dwm[town] is not installed")
from dwm.drive.script import read_script
from real_browser import Browser, Page, chromium

pytestmark = pytest.mark.slow
# One step: what is drawn is not looked at here.
CHEAP = ("--no-fast", "--steps", "1", "--guidance", "1", "--town", "7", "--scene", "8")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drives") / "records"


@pytest.fixture(scope="module")
def url(browser: Browser, records: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "dwm.cli.start", "drive", "--port", "0", "-o", str(records), *CHEAP]
    drive = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert drive.stdout is not None
    lines = iter(drive.stdout.readline, "")
    yield next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
    drive.send_signal(signal.SIGINT)
    said, _ = drive.communicate(timeout=30)
    assert drive.returncode == 130 and "interrupted" in said and "Traceback" not in said


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    opened = browser.open(url)
    opened.size(1280, 940)
    opened.until("last")
    yield opened
    assert not opened.errors
    opened.close()


def ink(page: Page, canvas: str) -> float:
    """How much of a canvas differs from its first pixel."""
    script = (
        f"(() => {{ const one = document.querySelector({canvas!r}); const data = one.getContext('2d')"
        ".getImageData(0, 0, one.width, one.height).data; let count = 0;"
        "for (let at = 0; at < data.length; at += 4) count += Math.abs(data[at] - data[0]) > 12;"
        "return 4 * count / data.length; })()"
    )
    return page.ask(script)


def test_keys_drive_and_a_page_that_is_closed_lets_go(browser: Browser, url: str, page: Page) -> None:
    assert "km/h" in page.text("#speed") and page.ask("last.facts.autopilot")
    assert ink(page, "#views canvas") > 0.2 and ink(page, "#map") > 0.02
    page.down("w")
    page.down("a")
    page.until("!last.facts.autopilot && last.facts.steering > 0.02")
    assert page.ask("on.autopilot") is False and "left" in page.text("#wheels")
    page.until("document.querySelector('#latency').textContent", lambda text: text.endswith(" s"))
    other = browser.open(url)
    other.until("last && !last.facts.autopilot")
    page.up("a")
    page.until("Math.abs(last.facts.steering) < 0.02")
    other.down("d")
    other.until("last.facts.steering < -0.02")  # who pressed last drives
    before = page.ask("last.facts.frame")
    other.close()  # in the middle, with a key held
    page.until(f"last.facts.frame > {before} + 2 && Math.abs(last.facts.steering) < 0.02")
    page.up("w")
    page.press("e")
    page.until("last.facts.autopilot")


def test_what_is_shown_is_chosen_by_keys(page: Page) -> None:
    assert page.ask("document.querySelectorAll('#views canvas').length") == 6
    page.press("c")
    assert page.ask("document.querySelectorAll('#views canvas').length") == 3
    page.press("t")
    assert page.ask("document.querySelectorAll('#reals canvas').length") == 3 and ink(page, "#reals canvas") > 0.2
    page.press("p")
    page.until("document.querySelector('#said').textContent", lambda text: text == "paused")
    without = np.asarray(page.shot(whole=False), np.int16)
    page.press("l")
    assert np.abs(np.asarray(page.shot(whole=False), np.int16) - without).max() > 100
    for key in "lctp":
        page.press(key)
    assert page.ask("[on.layout, on.three, on.real, on.pause]") == [False] * 4


def test_words_chips_and_another_beginning(page: Page) -> None:
    page.click("#times button:nth-of-type(3)")
    page.click("#weathers button:nth-of-type(3)")
    page.until("last.facts.timeOfDay === 'night' && last.facts.weather === 'rain'")
    chosen = "[...document.querySelectorAll('.chips [aria-pressed=true]')].map(one => one.textContent)"
    assert page.ask(chosen) == ["night", "rain"]
    page.press("/")
    page.type("snow wads")  # letters that are keys elsewhere
    page.press("Enter")
    assert page.text("#said") == "prompt: snow wads" and page.ask("on.autopilot && !on.record")
    page.click("#seed")
    page.ask("document.querySelector('#seed').value = 5")
    page.press("Escape")
    before = page.ask("last.facts.time")
    page.press("0")
    page.until(f"last.facts.time < {before}")
    assert page.text("#said") == "reset to seed 5"


def test_a_world_that_stands_stands_in_every_browser(browser: Browser, url: str, page: Page) -> None:
    other = browser.open(url)
    other.until("last")
    other.press("p")
    page.until("on.pause")
    page.until("!playing && !queue.length")
    before = page.ask("last.facts.time")
    for _ in range(4):  # one window
        page.press("n")
        page.ask("new Promise(done => setTimeout(done, 300))")
    page.until(f"last.facts.time > {before}")
    assert page.ask(f"last.facts.time <= {before} + 1")
    page.press("p")
    other.until("!on.pause")
    page.until(f"last.facts.time > {before} + 1")
    other.close()


def test_what_is_recorded_is_a_drive(page: Page, records: Path) -> None:
    page.press("m")
    page.until("last.facts.recording && last.facts.frame > 1")
    page.press("m")
    page.until("!last.facts.recording")
    record = records / "000" / "drive.jsonl"
    assert (read_script(record).ticks or 0) > 1
    assert {path.name for path in record.parent.iterdir()} >= {"generated.mp4", "comparison.mp4", "scenes.zip"}


@pytest.mark.parametrize(("width", "height", "phone"), [(1280, 940, False), (390, 844, True), (844, 390, True)])
def test_everything_is_in_reach(page: Page, width: int, height: int, phone: bool) -> None:
    page.size(width, height, phone)
    assert page.ask("document.documentElement.scrollWidth <= innerWidth")
    buttons = page.ask(
        "[...document.querySelectorAll('button, input')].map(one => [one.getBoundingClientRect().height, "
        "one.getAttribute('aria-label') || one.textContent])"
    )
    assert all(name and size >= (44 if phone else 36) for size, name in buttons)
    if phone:
        page.touch("[data-pedal=gas]", 0.3)
        page.until("!last.facts.autopilot")
        page.press("e")
        top, bottom = page.ask(
            "(() => { const box = document.querySelector('.pedals').getBoundingClientRect(); return [box.top, box.bottom]; })()"
        )
        assert 0 < top < bottom <= height
