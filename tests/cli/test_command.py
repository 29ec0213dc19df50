"""The command as its users meet it: a real process, its exit status, one line on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dwm.cli.main import app, outcome
from dwm.cli.verbs import VERBS

DWM = (sys.executable, "-m", "dwm.cli.main")


def dwm(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DWM, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120)


def within(*arguments: str) -> int:
    """The exit status of the same command without a new process (which costs seconds where torch is imported)."""
    return outcome(lambda: app(args=list(arguments), prog_name="dwm", standalone_mode=False))


def test_alone_it_names_the_verbs_in_the_newcomers_order_and_the_demo_first() -> None:
    result = dwm()
    assert result.returncode == 0
    lines = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")]
    assert lines[0] == "dwm" and lines[1:] == [verb.name for verb in VERBS]
    assert "dwm demo" in result.stdout.splitlines()[2]


def test_the_overview_needs_no_torch() -> None:
    check = "import sys, dwm.cli.main; assert not {'torch', 'numpy', 'diffusers'} & set(sys.modules), 'heavy imports'"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


SCREEN = 45
"""Lines of a terminal on a laptop's screen."""


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_help_fits_a_screen_and_ends_with_an_example(verb: str) -> None:
    result = dwm(verb, "--help")
    lines = result.stdout.rstrip().splitlines()
    assert result.returncode == 0 and len(lines) <= SCREEN and max(map(len, lines)) <= 100
    assert lines[-1].strip().startswith(f"dwm {verb}")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("twon",), 2, "No such command 'twon'"),
        (("town", "--sceens", "3"), 2, "--scenes"),
        (("town", "--scenes", "none"), 2, "--scenes"),
        (("show", "config", "twon"), 1, "no recipe is named 'twon'; nearest: town"),
        (("show", "config", "town", "data.sizes=3"), 1, "data.sizes is not known; nearest: data.size"),
        (("show", "config", "-c", "absent.json"), 1, "absent.json: no such file"),
        (("show", "config", "town", "-c", "x.json"), 1, "not both"),
        (("show", "config"), 1, "which run?"),
    ],
)
def test_a_wrong_call_is_one_line_and_its_status(
    arguments: tuple[str, ...], status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert within(*arguments) == status
    said = capsys.readouterr()
    assert sentence in said.err and said.err.count("\n") == 1 and said.err.startswith("dwm: ")
    assert not said.out


@pytest.mark.parametrize(("arguments", "status"), [(("town", "--sceens", "3"), 2), (("show", "config"), 1)])
def test_the_process_leaves_with_that_status(arguments: tuple[str, ...], status: int) -> None:
    result = dwm(*arguments)
    assert result.returncode == status and result.stderr.count("\n") == 1 and not result.stdout


def test_a_resolved_config_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert within("show", "config", "town", "data.size=[192,96]", "--json") == 0
    first = capsys.readouterr().out
    (tmp_path / "run.json").write_text(first)
    assert within("show", "config", "-c", str(tmp_path / "run.json"), "--json") == 0
    assert capsys.readouterr().out == first and json.loads(first)["data"]["size"] == [192, 96]
