"""The command `dwm`: its verbs in the order in which a newcomer meets them, and what becomes of errors. Imports nothing heavy."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import typer

import dwm
from dwm import versions
from dwm.cli import interrupt
from dwm.cli.flags import example
from dwm.cli.verbs import VERBS
from dwm.errors import DwmError, leave_reason
from dwm.screen import line as shown_line
from dwm.screen import say

USAGE, INTERRUPTED, FAULT = 2, 130, 1
UsageError = typer.BadParameter.__base__
"""Typer brings its own click or uses the installed one, depending on its version; this is the class in both cases."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DENIED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)

app = typer.Typer(
    name="dwm",
    help="An open driving world model: surround-view driving video from words, boxes, lanes and cameras.",
    epilog="Start with:  dwm demo",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def _verbs(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        print(f"dwm {dwm.__version__}")
    elif context.invoked_subcommand is None:
        print(overview())


def overview() -> str:
    """What `dwm` alone says: where to start, then every verb on a line."""
    lines = [
        f"dwm {dwm.__version__}: {app.info.help}",
        "",
        "  dwm demo        start here: one command, a minute or two",
        "",
    ]
    return "\n".join(
        [*lines, *(f"  {verb.name:10}  {verb.short}" for verb in VERBS), "", "dwm VERB --help shows an example."]
    )


for _verb in VERBS:
    if isinstance(_verb.does, typer.Typer):
        app.add_typer(_verb.does, name=_verb.name, short_help=_verb.short)
    else:
        app.command(_verb.name, short_help=_verb.short, epilog=example(_verb.example))(_verb.does)


def run(arguments: list[str] | None = None) -> None:
    """The console command. Leaves by `SystemExit` with 0 done, 1 input at fault, 2 usage, 3 a check that failed, 130 stopped."""
    try:
        code = _outcome_of(arguments)
    except KeyboardInterrupt:  # before the verb began, or behind its end
        code = INTERRUPTED
    if code == INTERRUPTED:
        interrupt.leave()
    sys.exit(code)


def _outcome_of(arguments: list[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):  # a ✓ or a × must not end a run where the terminal speaks ASCII
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    interrupt.watch()
    code = outcome(lambda: app(args=arguments, prog_name="dwm", standalone_mode=False))
    _flush()
    return code


def _warning(message: Any, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """What we warn of is about the user's files, not about a line of ours."""
    where = "" if category is UserWarning else f"{filename}:{lineno}: {category.__name__}: "
    return shown_line(f"dwm: {where}{message}") + "\n"


def outcome(work: Callable[[], Any]) -> int:
    """Runs a verb, or one of OpenDWM's commands; whatever ends it becomes one line on stderr and an exit status, a warning one.

    Our own bugs keep their trace.
    """
    warnings.formatwarning = _warning
    try:
        result = work()
        return result if isinstance(result, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except UsageError as error:  # type: ignore[misc]
        return _usage(error)
    except DwmError as error:
        return _line(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if interrupt.interrupted():
            return INTERRUPTED
        if line := _known_fault(error) or versions.explanation(error):
            return _line(line, FAULT)
        say(*traceback.format_exc().splitlines())
        return _line(
            f"this is a fault of dwm {dwm.__version__}, not yours: please report it with the lines above", FAULT
        )


def _usage(error: Any) -> int:
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help())
        return 0
    hint = f"; see {context.command_path} --help" if context else ""
    return _line(error.format_message().rstrip(".") + hint, USAGE)


def _known_fault(error: Exception) -> str | None:
    """One line for faults of the machine, not of our code: a full disk, a forbidden file, too little memory."""
    if isinstance(error, OSError):
        name = error.filename or "the output"
        if error.errno in DISK_FULL:
            return f"{name}: no room left to write it; free some, or choose another place with --output"
        if error.errno in DENIED and error.filename:
            return f"{name}: {os.strerror(error.errno).lower()}"
    if _is_out_of_memory(error):
        return (
            f"out of memory ({str(error).splitlines()[0] if str(error) else 'host'}); ask for less: fewer --frames or --views, "
            "a smaller --size; in training a smaller training.batch.clips, or training.accumulate"
        )
    return None


NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
"""How libraries say it in errors that have no class of their own: PyTorch on a processor, mapping, CUDA's libraries, NPUs."""


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def _line(text: str, code: int) -> int:
    text = " ".join(text.split("\n"))
    if not leave_reason(text):
        say("dwm: " + text)
    return code


def _flush() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    run()
