"""What README.md, docs/, CHANGELOG.md and the helps say to type: each command is read by its parser; none is run.

Whether a file that an example names is there is not asked, as it is the reader's.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from dwm.cli.main import UsageError, app
from dwm.cli.runs import choose_lidar, choose_training

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
QUOTED = re.compile(r"`([^`]+)`")
VARIABLE = re.compile(r"[A-Z][A-Z_0-9]*=\S*$")
LAUNCHERS = (("-m", "dwm.cli.start"), ("-m", "dwm.cli.main"), ("--no-python", "dwm"))
"""How torchrun is told to start us."""
COMMENT = re.compile(r"(^|\s)#.*$")
ELIDED = "…"
"""Stands for what the reader has: the value of a flag, or, at the end, whatever else is wanted."""


def shell_lines(page: Path) -> Iterator[str]:
    """Commands of a page's shell blocks (fenced, or indented by four) and those that stand between backticks in its text."""
    text = page.read_text()
    for language, block in FENCED.findall(text):
        if language in ("", "sh", "bash", "shell", "console"):
            yield from re.sub(r"\\\n\s*", " ", block).splitlines()
    text = FENCED.sub("", text)
    yield from (line[4:] for line in text.splitlines() if re.match("    (dwm|python|bash|make|torchrun) ", line))
    yield from (" ".join(span.split()) for span in QUOTED.findall(text))


def help_lines(command: Any) -> Iterator[str]:
    """Examples that end the helps of a command and of all below it."""
    yield from (line.strip() for line in (command.epilog or "").splitlines())
    for child in getattr(command, "commands", {}).values():
        yield from help_lines(child)


def spelled_out(line: str) -> Iterator[list[str]]:
    """The simple commands of a line as words: `a && b` gives two, `show config|memory` too; brackets around what may be left out
    are taken away."""
    line = COMMENT.sub("", line.removeprefix("$ ")).strip()
    for part in re.split(r"\s*(?:&&|;)\s*", line):
        try:
            words = shlex.split(re.sub(r"(?<=\s)\[(.*?)\](?=\s|$)", r"\1", part))
        except ValueError:  # a quotation mark of the text around it
            continue
        while words and VARIABLE.match(words[0]):
            words = words[1:]
        if words[1:] and words[-1] == ELIDED and not words[-2].startswith("-"):
            words = words[:-1]
        choices = re.sub(r"\s\|\s", "|", " ".join(words)).split() if "|" in words else words
        at = next((i for i, word in enumerate(choices) if re.fullmatch(r"\w+(\|\w+)+", word)), None)
        if at is None:
            yield words
        else:
            yield from ([*choices[:at], one, *choices[at + 1 :]] for one in choices[at].split("|"))


def ours(words: list[str]) -> list[str] | None:
    """What follows `dwm`, also where a launcher starts it; None for other programs and for `dwm` as a name in a sentence."""
    if words and words[0] == "dwm":
        return words[1:]
    if words and words[0] in ("torchrun", "python"):
        for at in range(len(words) - 1):
            if tuple(words[at : at + 2]) in LAUNCHERS:
                return words[at + 2 :]
    return None


def documented() -> Iterator[tuple[str, list[str]]]:
    """(where it stands, words of the command) of everything that is said to be typed."""
    for page in PAGES:
        yield from ((page.name, words) for line in shell_lines(page) for words in spelled_out(line) if words)
    yield from (("--help", words) for line in help_lines(get_command(app)) for words in spelled_out(line) if words)


COMMANDS = sorted({(where, " ".join(rest)): rest for where, words in documented() if (rest := ours(words))}.items())
SCRIPTS = sorted({(where, tuple(words)) for where, words in documented() if words[0] in ("python", "bash")})
TARGETS = sorted({(where, words[1]) for where, words in documented() if words[0] == "make" and len(words) == 2})


@pytest.fixture(scope="module")
def parser() -> Any:
    """The whole command without what looks for files while words are read."""
    root = get_command(app)
    _without_callbacks(root)
    return root


def _without_callbacks(command: Any) -> None:
    for parameter in command.params:
        parameter.callback = None
    for child in getattr(command, "commands", {}).values():
        _without_callbacks(child)


def test_pages_are_read() -> None:
    assert len(COMMANDS) > 150 and len(SCRIPTS) > 40
    assert {where for (where, _), _ in COMMANDS} >= {"README.md", "data.md", "drive.md", "evaluation.md", "--help"}


@pytest.mark.parametrize("words", [words for _, words in COMMANDS], ids=[f"{at}: {line}" for (at, line), _ in COMMANDS])
def test_a_documented_command_is_understood(parser: Any, words: list[str]) -> None:
    command, name = parser, "dwm"
    while words and words[0] in getattr(command, "commands", {}):
        name, words = words[0], words[1:]
        command = command.commands[name]
    assert command is not parser or not words or words[0].startswith("-"), f"dwm has no verb {words[0]}"
    if not words or (command is parser and words == ["VERB", "--help"]):
        return  # the verb's name alone, as sentences have it
    try:
        context = command.make_context(name, list(words))
    except UsageError as error:
        # A sentence may leave out what an example must have, and name a flag without its value.
        partial = type(error).__name__ in ("MissingParameter", "BadOptionUsage")
        assert partial, f"dwm {name}: {error.format_message()}"
        return
    if name == "train" and re.fullmatch("[a-z][a-z0-9-]+", context.params["name"] or ""):
        recipe, overrides = context.params["name"], context.params["overrides"] or []
        overrides = [setting for setting in overrides if not setting.endswith(ELIDED)]
        assert choose_lidar(recipe, None, overrides, None) or choose_training(recipe, None, overrides, None)


@pytest.mark.parametrize(
    ("where", "words"), SCRIPTS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_documented_script_is_there_with_its_flags(where: str, words: tuple[str, ...]) -> None:
    script = ROOT / words[1]
    if words[1] == "-m" or not script.parent.name or words[1].startswith("-"):
        return
    assert script.is_file(), f"{where}: no {words[1]}"
    if script.parent.name == "benchmarks":
        source = script.read_text()
        assert [flag for flag in words if flag.startswith("--") and f'"{flag}"' not in source] == []


@pytest.mark.parametrize(("where", "target"), TARGETS)
def test_a_documented_target_is_in_the_makefile(where: str, target: str) -> None:
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), where


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"
