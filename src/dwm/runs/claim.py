"""Whose a training run's folder is: one run at a time, the same when it goes on, and nobody's after a start that failed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dwm.config.files import CONFIG_NAME, check_own, read_json, save
from dwm.config.lidar import LidarRecipe
from dwm.config.lidar_files import load_any
from dwm.config.recipe import Recipe
from dwm.errors import DwmError
from dwm.runs.clips import opened
from dwm.storage import atomic_write, check_folder, held, read_file

RESUMABLE = ("steps", "save_every", "log_every", "keep", "keep_best", "parallel", "watch")
"""Settings of the loop that may change between a run and its continuation; so may data.workers, data.store and device."""
DATA_NAME = "data.json"
"""The file that says which data a run is trained on: a digest of the tables of each set."""
PRECISION_NAME = "precision.json"
"""The file that says what matrix products are computed in where the run leaves it to the device: a run goes on in it."""
AnyRun = Recipe | LidarRecipe
MADE = (
    "*/checkpoints/[0-9]*/state.json",
    "*/weights.safetensors",
    "*/vae/config.json",
    "clips/*.safetensors",
    "weights/dwm.json",
    "weights/*.safetensors",
)
"""What a run has when it has begun: saves, finished stages, clips."""
OWN_FILES = (CONFIG_NAME, DATA_NAME, PRECISION_NAME)
UNSEEN = {"workers": 0, "store": None}
"""Settings of the data that change nothing of what is trained on."""
WHERE = ("path", "archives", "endpoint")
"""Settings of a data set that say where it lies; it may be moved."""
DIFFERENCES, WORDS = 6, 60
"""How many settings that differ are told, and how many characters of each value."""


@contextmanager
def claimed(run: AnyRun, output: Path, resume: bool) -> Iterator[None]:
    """Holds `output` for a run and says in it which run this is.

    Raises DwmError where another process holds it, where it holds another run, or this one and `resume` was not given. A start
    that fails before anything was made leaves no trace that would be in the way of the next.
    """
    check_folder(output, OWN_FILES)
    check_own(output)
    with held(output):
        digests = data_digests(run)
        if begun(output):
            check_same(run, digests, output, resume)
        elif _is_of_another(output, run):
            shutil.rmtree(output / "base")  # of a start with other settings that came to nothing
        before = {path.name for path in output.iterdir()}
        older = {name: read_file(output / name) for name in OWN_FILES if name in before}
        save(run, output)
        with atomic_write(output / DATA_NAME) as temporary:
            temporary.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
        try:
            yield
        except BaseException:
            if not begun(output):
                _withdraw(output, before, older)
            raise


def begun(output: Path) -> bool:
    """Whether a folder holds anything that a run made."""
    return any(next(output.glob(pattern), None) is not None for pattern in MADE)


def data_digests(run: AnyRun) -> list[str | None]:
    """A digest of the tables of each set that a run is trained on; None for what is drawn, of which its settings say all.

    Raises DwmError where a set is not there or broken.
    """
    return [opened(source).digest() for source in run.data.train]


def check_same(run: AnyRun, digests: list[str | None], output: Path, resume: bool) -> None:
    """Raises DwmError where a folder's run is another one, naming the settings that differ."""
    path = output / CONFIG_NAME
    if not path.exists():
        return
    before = load_any(path)
    if not resume:
        raise DwmError(f"{output}: holds a run of {before.name} already; add --resume, or choose another --output")
    saved_digests = _saved_digests(output)
    if saved_digests is not None:
        for index, (old, new) in enumerate(zip(saved_digests, digests, strict=False)):
            if old != new and None not in (old, new):
                raise DwmError(
                    f"{path}: the tables of data.train.{index} ({run.data.train[index].path}) are not those that the run was "
                    f"started with (digest {str(old)[:8]} → {str(new)[:8]}); put those back, or start a new run with another "
                    "--output"
                )
    if type(before) is not type(run):
        raise DwmError(f"{path}: is a run of another kind ({before.verb}); choose another --output")
    if different := differences(before, run, moved=saved_digests is not None):
        more = f" and {len(different) - DIFFERENCES} more" if len(different) > DIFFERENCES else ""
        raise DwmError(
            f"{path}: the run was started with other settings (old → new): {'; '.join(different[:DIFFERENCES])}{more}; leave "
            "them as they were, or start a new run with another --output"
        )


def differences(before: AnyRun, now: AnyRun, moved: bool = False) -> list[str]:
    """`key: old → new` of each setting that may not change while a run goes on. `moved`: its data may lie elsewhere."""
    old, new = (_flat(_comparable(run, moved).model_dump(mode="json")) for run in (before, now))
    keys = dict.fromkeys((*old, *new))
    return [f"{key}: {_shown(old, key)} → {_shown(new, key)}" for key in keys if old.get(key) != new.get(key)]


def _comparable(run: AnyRun, moved: bool) -> AnyRun:
    usual = type(run)()
    same = {key: getattr(usual.training, key) for key in RESUMABLE}
    data = run.data.with_(**{key: value for key, value in UNSEEN.items() if key in type(run.data).model_fields})
    if moved:
        data = data.with_(train=tuple(source.with_(**_nowhere(source)) for source in data.train))
    measured = {key: getattr(usual, key) for key in ("evaluation", "scores") if hasattr(usual, key)}
    return run.with_(training=run.training.with_(**same), data=data, device=usual.device, **measured)


def _nowhere(source: Any) -> dict[str, Any]:
    return {key: type(source).model_fields[key].default for key in WHERE}


def _flat(values: Any, key: str = "") -> dict[str, Any]:
    """Nested values by their dotted keys."""
    inner: dict[str, Any] = {}
    if isinstance(values, dict) and values:
        inner = values
    elif isinstance(values, list) and any(isinstance(value, dict) for value in values):
        inner = {str(index): value for index, value in enumerate(values)}
    if not inner:
        return {key: values}
    return {
        name: setting
        for part, value in inner.items()
        for name, setting in _flat(value, f"{key}.{part}".strip(".")).items()
    }


def _shown(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return "nothing"
    text = json.dumps(values[key], ensure_ascii=False)
    return text if len(text) <= WORDS else f"{text[:WORDS]}…"


def _saved_digests(output: Path) -> list[str | None] | None:
    """The digests that a folder says; None for a run of before there were any."""
    if not (output / DATA_NAME).exists():
        return None
    digests = read_json(output / DATA_NAME)
    if not isinstance(digests, list) or not all(isinstance(digest, str | None) for digest in digests):
        raise DwmError(
            f"{output / DATA_NAME}: is no list of digests; remove it, and the paths of data are compared instead"
        )
    return digests


def _is_of_another(output: Path, run: AnyRun) -> bool:
    """Whether the base model below a folder is one that a run with other settings made there."""
    if not (output / "base" / "model_index.json").is_file() or not (output / CONFIG_NAME).is_file():
        return False
    try:
        before = load_any(output / CONFIG_NAME)
        return type(before) is not type(run) or bool(differences(before, run))
    except DwmError:
        return False


def _withdraw(output: Path, before: set[str], older: Mapping[str, bytes]) -> None:
    """Removes what a start left that came to nothing; what was there `before` stays, and what was replaced comes back (`older`)."""
    for name in OWN_FILES:
        if name in older:
            with atomic_write(output / name) as temporary:
                temporary.write_bytes(older[name])
        else:
            (output / name).unlink(missing_ok=True)
    for folder in [path for path in output.iterdir() if path.name not in before and path.is_dir()]:
        if folder.name == "base":
            shutil.rmtree(folder, ignore_errors=True)
        for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):  # where anything lies in it
                inner.rmdir()
        with suppress(OSError):
            folder.rmdir()
