"""The page holds all that it shows, asks no network, and shows words as words."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from dwm.clip import NUSCENES_VIEWS
from dwm.errors import DwmError
from dwm.report import Group, Report, ScoreLine, Shown, Video, contact_sheet, write_report

NASTY = '<script>alert("x")</script> & "night"'


class Page(HTMLParser):
    """Collects what a browser without scripts would meet."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def shown(name: str, t: int = 3, note: str = "") -> Shown:
    frames = torch.zeros(1, t, 6, 3, 24, 40)
    frames[:, :, :, 0] = torch.linspace(0, 1, t).view(1, t, 1, 1, 1)
    return Shown(name, Video(frames, 4.0, NUSCENES_VIEWS), note)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"not really a film")
    report = Report(
        title=NASTY,
        lead="lead",
        groups=[Group("together", [shown("generated", note=NASTY), shown("real")]), Group("edited", [shown("night")])],
        scores=[ScoreLine("layout_retrieval", "15 of 16", "what it means")],
        facts={"sampling": "3.1 s"},
        films={"film.mp4": film},
        config='{"prompt": "</pre>"}',
    )
    return Page(write_report(tmp_path / "out" / "report.html", report).read_text("utf-8"))


def test_nothing_is_fetched(page: Page):
    for tag, attrs in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attrs.get(name) is None or attrs[name].startswith("data:"), f"<{tag}> fetches {attrs[name][:80]}"
        assert "url(" not in (attrs.get("style") or "")
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.all("meta"))


def test_words_stay_words(page: Page):
    assert len(page.all("script")) == 1 and len(page.all("pre")) == 1
    assert page.words.count(NASTY) == 3, "as the title twice and as the note once"
    assert '"</pre>"' in page.words


def test_every_view_of_every_video_shows_without_scripts(page: Page):
    pictures = page.all("img")
    assert len(pictures) == 3 * 6
    assert {picture["alt"].split(", ")[1] for picture in pictures} == set(NUSCENES_VIEWS)
    content = base64.b64decode(pictures[0]["src"].split(",", 1)[1])
    strip = Image.open(io.BytesIO(content))
    assert strip.size == (3 * 320, 192)
    reds = [strip.getpixel((320 * frame + 160, 96))[0] for frame in range(3)]
    assert reds[0] < 10 and abs(reds[1] - 128) < 10 and reds[2] > 245


def test_scores_films_facts_and_config_are_there(page: Page):
    for words in ("layout_retrieval", "15 of 16", "what it means", "sampling", "3.1 s"):
        assert words in page.words
    (film,) = page.all("video")
    assert base64.b64decode(film["src"].split(",", 1)[1]) == b"not really a film"
    assert "controls" in film


def test_a_long_clip_is_thinned(tmp_path: Path):
    text = write_report(tmp_path / "a.html", Report("t", "l", [Group("g", [shown("long", t=60)])])).read_text("utf-8")
    times = [float(time) for time in re.search(r"const times = \[(.*?)\]", text).group(1).split(",")]
    assert len(times) == 24 and times[0] == 0 and times[-1] == pytest.approx(59 / 4)
    assert "--frames: 24" in text


def test_single_pictures_have_no_time_on_page_and_sheet(tmp_path: Path):
    still = Video(torch.rand(1, 1, 6, 3, 24, 40), 0.0, NUSCENES_VIEWS)
    text = write_report(tmp_path / "a.html", Report("t", "l", [Group("g", [Shown("still", still)])])).read_text("utf-8")
    assert "const times = [0.0]" in text
    assert contact_sheet({"still": still}).save(tmp_path / "a.png").stat().st_size > 1000


def test_an_empty_report_is_refused(tmp_path: Path):
    with pytest.raises(DwmError, match="at least one video"):
        write_report(tmp_path / "a.html", Report("t", "l", []))
    assert not list(tmp_path.iterdir())
