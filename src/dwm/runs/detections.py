"""A detector's results on real and on generated pictures, judged by the nuScenes devkit in an environment of its own."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dwm.errors import DwmError
from dwm.storage import atomic_write, check_folder, regular
from dwm.strict_json import parse_json

JUDGE = Path(__file__).with_name("detection_judge.py")
FILE = "detections.json"
PATIENCE = 3600
"""Seconds that the devkit may take for one file."""
INSTALL = "python -m venv .venv-devkit && .venv-devkit/bin/pip install nuscenes-devkit==1.2.0 'numpy<2' 'shapely<2'"


@dataclass(frozen=True)
class Detections:
    """What the devkit says of one result file: mAP and NDS, errors of true positives, mean AP by class (None: not defined)."""

    file: str
    mean_ap: float
    nds: float
    errors: Mapping[str, float | None]
    classes: Mapping[str, float | None]


def judged(
    files: Sequence[Path], data: Path, split: str, version: str | None, python: Path, output: Path
) -> list[Detections]:
    """Judges every file against the boxes of `data` and writes them to `output`. Raises DwmError where the devkit refuses one."""
    check_folder(output, (FILE,))
    if not python.is_file():
        raise DwmError(f"{python}: no Python with the nuScenes devkit; give --devkit, or install it: {INSTALL}")
    version = version or _version(data)
    results = [_judged(regular(file), data, split, version, python) for file in files]
    with atomic_write(output / FILE) as temporary:
        about = {"data": str(data), "version": version, "split": split, "files": [asdict(one) for one in results]}
        temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return results


def _version(data: Path) -> str:
    if not data.is_dir():
        raise DwmError(f"{data}: no such folder; the devkit reads unpacked nuScenes alone")
    there = sorted(path.name for path in data.glob("v1.0-*") if (path / "sample.json").is_file())
    if not there:
        raise DwmError(f"{data}: holds no unpacked nuScenes tables (v1.0-…/sample.json), which the devkit reads alone")
    if len(there) > 1:
        raise DwmError(f"{data}: has {', '.join(there)}; say which by --version")
    return there[0]


def _judged(file: Path, data: Path, split: str, version: str, python: Path) -> Detections:
    with tempfile.TemporaryDirectory(prefix="dwm-devkit-") as folder:
        command = [str(part) for part in (python, JUDGE, data, version, split, file, folder)]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DwmError(f"{python}: the devkit did not end ({error})") from error
    if process.returncode:
        lines = process.stderr.strip().splitlines() or ["it said nothing"]
        raise DwmError(f"{file}: the devkit refuses it: {lines[-1][:300]}")
    if not (said := process.stdout.strip().splitlines()):
        raise DwmError(f"{python}: says nothing; is this the devkit's Python?")
    values = parse_json(said[-1].encode(), str(python), "is this the devkit's Python?", empty_cells=True)
    try:
        means, parts = (values["mAP"], values["NDS"]), (values["errors"], values["classes"])
        return Detections(str(file), float(means[0]), float(means[1]), *map(_known, parts))
    except (AttributeError, KeyError, TypeError) as error:
        raise DwmError(f"{python}: its last line is no result; is this the devkit's Python?") from error


def _known(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}


def table(results: Sequence[Detections], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Rows of words, a column for each file."""
    rows: list[tuple[str, ...]] = [
        ("", *names),
        ("mAP", *(f"{one.mean_ap:.4f}" for one in results)),
        ("NDS", *(f"{one.nds:.4f}" for one in results)),
    ]
    for part in ("errors", "classes"):
        for name in getattr(results[0], part):
            values = [getattr(one, part).get(name) for one in results]
            rows.append((name, *("–" if value is None else f"{value:.4f}" for value in values)))
    return rows
