"""Which releases of the libraries run beside which PyTorch, and what is said where they do not. Imports none of them.

`setup.py` reads the table by this file's path, so that `pip install` takes releases that fit; nothing of dwm may be imported
here at the top.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from types import TracebackType

PYTHON = (3, 10)
"""The oldest Python; `requires-python` says the same to pip."""
TORCH = (2, 5)
"""The oldest PyTorch."""
BESIDE = {(2, 6): {"diffusers": "0.41", "transformers": "5.17"}}
"""PyTorch before this release runs only with older libraries than these: newer diffusers need `torch.accelerator`, and newer
Transformers leave PyTorch out without a word of error."""


def bounds(torch: str) -> tuple[str, ...]:
    """What pip must be told beside this release of PyTorch: `("diffusers<0.41", …)`; empty where the newest will do."""
    return tuple(
        f"{name}<{limit}"
        for torch_limit, limits in BESIDE.items()
        if _parts(torch) < torch_limit
        for name, limit in limits.items()
    )


def misfit() -> str | None:
    """One line that says what cannot run with what here, and what to install; None where all fits."""
    if sys.version_info[:2] < PYTHON:
        return f"Python {'.'.join(map(str, PYTHON))} or newer is needed, this is {sys.version.split()[0]} ({sys.executable})"
    torch = installed("torch")
    if torch is None:
        return "PyTorch is not installed here: pip install torch, then pip install . in dwm's folder"
    if _parts(torch) < TORCH:
        least = ".".join(map(str, TORCH))
        return f"PyTorch {least} or newer is needed, this is {torch}: pip install 'torch>={least}'"
    wrong = [text for text in bounds(torch) if not _older(*text.split("<"))]
    if not wrong:
        return None
    names = " and ".join(f"{name} {installed(name)}" for name in (text.split("<")[0] for text in wrong))
    newer = ".".join(map(str, max(BESIDE)))
    fix = " ".join(f"'{text}'" for text in bounds(torch))
    return f"{names} cannot run with PyTorch {torch}: pip install {fix}, or PyTorch {newer} or newer"


def explanation(error: BaseException) -> str | None:
    """The line for an error that comes from libraries which do not fit or are missing; None for any other error.

    An error of ours is never taken for one of these: it must have been raised inside another package, or name one.
    """
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("dwm"):
        if (line := misfit()) is not None:
            return line
        if installed("dwm") is None or error.name in _needed():
            return f"{error.name} is not installed: pip install . in dwm's folder brings all that it needs"
    return misfit() if _outside(error.__traceback__) else None


def installed(name: str) -> str | None:
    """The release of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _needed() -> set[str]:
    texts = (text for text in metadata.requires("dwm") or [] if "extra ==" not in text)
    return {"".join(letter if letter.isalnum() else " " for letter in text).split()[0].lower() for text in texts}


def _older(name: str, limit: str) -> bool:
    version = installed(name)
    return version is None or _parts(version) < _parts(limit)


def _parts(version: str) -> tuple[int, int]:
    """(2, 5) of `2.5.1+cu124`."""
    major, minor, *_ = (*version.split("+")[0].split("."), "0")
    return int(major), int("".join(letter for letter in minor if letter.isdigit()) or 0)


def _outside(trace: TracebackType | None) -> bool:
    """Whether an error was raised by another package's code."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and Path(__file__).parent not in Path(trace.tb_frame.f_code.co_filename).parents
