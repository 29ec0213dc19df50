"""What data bring is shown, never sent: no name steers the terminal, forges a line, or shows a key."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from dwm.cli.main import outcome, run
from dwm.cli.output import finish
from dwm.errors import DwmError
from dwm.progress import track
from dwm.report import Group, Report, Shown, Video, write_report
from dwm.screen import plain, without_keys

FORGED = "x\x1b]0;title\x07\x1b[31mred\r\ndwm: all is well\u202egnp\x9b2J"
SENT = ("\x1b", "\x07", "\r", "\u202e", "\x9b")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("left\u202eright", "left\\u202eright"),
        ("\udcff.jpg", "\\udcff.jpg"),
        ("\U000e0041", "\\U000e0041"),
        ("naïve 東京 😀 می\u200cخواهم", "naïve 東京 😀 می\u200cخواهم"),
    ],
)
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:SECRET@bucket/set",
        "https://SECRET@host/set.zip: does not exist",
        "https://user:pa/SECRET@host/x",
        "https://host/set.zip?X-Amz-Signature=SECRET&x=1",
        "https://host/x#access_token=SECRET",
        "zip://a::s3://k:SECRET@b/c",
    ],
)
def test_keys_in_urls_are_hidden(url: str) -> None:
    assert "SECRET" not in plain(url) and "***" in plain(url)


def test_urls_without_keys_stay_as_they_are() -> None:
    for url in ("s3://bucket/a@b/c", "https://host:8080/a@2/x.zip", "front.mp4#17", "who@where: what?"):
        assert without_keys(url) == url


def test_errors_and_warnings_and_results_are_one_plain_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> None:
        raise DwmError(f"{FORGED}: is no scene")

    assert outcome(refused) == 1
    finish([f"written: {FORGED}"], {}, False, False)
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and told.out.count("\n") == 1
    assert not any(mark in told.err + told.out for mark in SENT)


def test_json_results_hold_what_was_given_without_sending_it(capsys: pytest.CaptureFixture[str]) -> None:
    finish([], {"scene": FORGED}, False, True)
    printed = capsys.readouterr().out
    assert json.loads(printed)["scene"] == FORGED and not any(mark in printed for mark in SENT)


def test_progress_shows_names_plainly(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dwm.progress.PLAIN_INTERVAL", 0.0)
    assert list(track([1, 2], FORGED)) == [1, 2]
    told = capsys.readouterr().err
    assert told.count("\n") == 2 and not any(mark in told for mark in SENT)


def test_warnings_are_plain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from dwm.cli import main

    monkeypatch.setattr(warnings, "formatwarning", main._warning)
    assert warnings.formatwarning(UserWarning(FORGED), UserWarning, "x.py", 1).count("\n") == 1


def test_a_page_shows_names_plainly_and_hides_keys(tmp_path: Path) -> None:
    video = Video(torch.zeros(1, 1, 1, 3, 16, 16), 4.0, ("CAM_FRONT",))
    groups = [Group(FORGED, [Shown(FORGED, video, FORGED)])]
    report = Report(FORGED, "s3://k:SECRET@b", groups, config='{\n "data": "https://h/x?sig=SECRET"\n}')
    page = write_report(tmp_path / "report.html", report).read_text("utf-8")
    assert "SECRET" not in page and not any(mark in page for mark in SENT)
    assert "{\n &#34;data" in page  # the run's lines stay lines


def test_only_urls_that_are_read_are_opened(capsys: pytest.CaptureFixture[str]) -> None:
    urls = (
        "ftp://h/x",
        "zip://*::file:///etc/passwd",
        "github://a:b@c/x",
        "file:///etc",
        "reference://x",
        "s3://a::zip://b",
    )
    for url in urls:
        with pytest.raises(SystemExit) as stop:
            run(["show", "clip", url])
        told = capsys.readouterr().err
        assert stop.value.code == 1 and told.count("\n") == 1 and "URLs of this kind are not read" in told


def test_a_password_in_a_url_is_refused_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["show", "clip", "s3://AKIA:pa55word@bucket/x"])
    told = capsys.readouterr().err
    assert "pa55word" not in told and "AKIA" not in told and "AWS_ACCESS_KEY_ID" in told


def test_memory_that_runs_out_on_a_processor_is_one_line() -> None:
    work = "import torch\nfrom dwm.cli.main import outcome\nraise SystemExit(outcome(lambda: torch.empty(2**60)))"
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "out of memory" in done.stderr


def test_a_name_of_a_million_letters_is_a_line_that_can_be_read(capsys) -> None:
    def fails() -> None:
        raise DwmError(f"{'x' * 10**6}: is no name; rename it")

    assert outcome(fails) == 1
    said = capsys.readouterr().err
    assert len(said) < 2000 and said.endswith("is no name; rename it\n")
