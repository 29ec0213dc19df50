"""What must be known of scores to quote or compare them: the protocol, what was scored, with which files and versions."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dwm
from dwm.clip import Clip
from dwm.errors import DwmError
from dwm.evaluation import known_scores
from dwm.evaluation.networks.files import FILES, digest, find
from dwm.evaluation.options import EvaluationOptions
from dwm.evaluation.score import feature_paths
from dwm.evaluation.words import conditions_of
from dwm.storage import limits, read_file
from dwm.strict_json import parse_json

RECORD_VERSION = 1
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow", "av")
WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin")
NEEDS = {
    "fid": "inception",
    "kid": "inception",
    "precision_recall": "inception",
    "fvd": "i3d",
    "imagenet_fid": "efficientnet",
}
"""Score → the feature file that it looks with."""


def protocol(
    clips: Sequence[Clip],
    options: EvaluationOptions,
    scores: Sequence[str],
    name: str | None = None,
    references: int = 0,
) -> dict[str, Any]:
    """Everything that changes a number other than what is scored: two records are comparable where all of it is equal.

    The pictures' size belongs to it too, which only they tell.
    """
    first = clips[0]
    times = Counter(row[0].time for clip in clips for row in (clip.captions or ())[:1])
    return {
        "name": name,
        "clips": len(clips),
        "clips_sha256": _clips_digest(clips),
        "frames": first.length,
        "fps": round(float(first.fps), 6),
        "views": list(first.views),
        "times_of_day": dict(sorted(times.items())),
        "reference_frames": references,
        "options": options.model_dump(mode="json", exclude={"scores", "optional", "features", "i3d_file", "draws"}),
        "feature_files": {
            name: _file_digest(name, options) for name in sorted({NEEDS[score] for score in scores if score in NEEDS})
        },
    }


def clip_list(clips: Sequence[Clip], files: Sequence[Path], left_out: Sequence[str]) -> list[dict[str, Any]]:
    """The clips in their order: what was kept of each, its conditions, and whether it was scored."""
    return [
        {
            "scene": clip.scene,
            "start_us": int(clip.times.min()),
            "conditions": list(conditions_of(clip)),
            "kept": file.stem,
            "left_out": out or None,
        }
        for clip, file, out in zip(clips, files, left_out, strict=True)
    ]


def origin(weights: Path | None, about: Mapping[str, Any]) -> dict[str, Any]:
    """What was scored, by which versions. `about` is whatever the run says: weights' name, steps, guidance, device."""
    return {
        **about,
        "weights_sha256": None if weights is None else _weights_digest(weights),
        "dwm": dwm.__version__,
        "commit": _commit(),
        "versions": dict(_versions()),
    }


def read(path: Path) -> dict[str, Any]:
    """A saved record, or the one in a folder. Raises DwmError for what is none, or of another version of the format."""
    path = path / "scores.json" if path.is_dir() else path
    record = parse_json(read_file(path, limits.TEXT), str(path), "give the scores.json of an evaluation, or its folder")
    if not isinstance(record, dict) or not isinstance(record.get("protocol"), dict):
        raise DwmError(
            f"{path}: has no protocol: not a record of scores, or one from before they had it; evaluate again"
        )
    if record.get("record") != RECORD_VERSION:
        raise DwmError(
            f"{path}: is record version {record.get('record')!r}, this dwm compares version {RECORD_VERSION}; evaluate again"
        )
    return record


def require_alike(first: Path, second: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raises DwmError with the fields in which the protocols of two records differ."""
    a, b = (_flat(record["protocol"]) for record in (ours, theirs))
    unlike = [key for key in a.keys() | b.keys() if a.get(key) != b.get(key)]
    if unlike:
        fields = "; ".join(f"{key} {_short(a.get(key))} and {_short(b.get(key))}" for key in sorted(unlike))
        raise DwmError(f"{first} and {second} were measured differently and cannot be compared: {fields}")


def compare(first: Path, second: Path) -> dict[str, tuple[Any, Any]]:
    """The numbers of both records side by side, by `score.field`. Raises DwmError with the fields of the protocols that differ."""
    records = read(first), read(second)
    require_alike(first, second, *records)
    return numbers(*records)


def numbers(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The single numbers that both records have, by `score.field`."""
    a, b = (_flat({name: record[name] for name in known_scores() if name in record}) for record in (ours, theirs))
    return {key: (a[key], b[key]) for key in a if key in b and isinstance(a[key], int | float)}


def _flat(values: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{start}{key}.") if isinstance(value, dict) else {f"{start}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:12] + "…"


def _clips_digest(clips: Sequence[Clip]) -> str:
    """Which clips: scenes and the microseconds of their frames."""
    checksum = hashlib.sha256()
    for clip in clips:
        checksum.update(json.dumps([clip.scene, clip.times.tolist()]).encode())
    return checksum.hexdigest()


def _file_digest(name: str, options: EvaluationOptions) -> str:
    checksum = digest(find(name, *feature_paths(options, name)))
    return "published" if checksum == FILES[name].sha256 else checksum


def _weights_digest(path: Path) -> str:
    """Of all weights in a folder, with their names in it; or of a file."""
    if path.is_file():
        return digest(path)
    checksum = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.suffix in WEIGHT_FILES):
        checksum.update(f"{file.relative_to(path).as_posix()} {digest(file)}\n".encode())
    return checksum.hexdigest()


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _commit() -> str | None:
    """The commit of a checkout; None where the package was installed without one."""
    root = Path(dwm.__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        process = subprocess.run(
            ["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None
