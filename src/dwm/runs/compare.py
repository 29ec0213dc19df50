"""Two evaluations against each other: paired tests over the same clips, and one page. Weights are evaluated first, alike.

What a test needs lies in the evaluations' folders: numbers of clips in `scores.json`, features in `clips/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dwm.checkpoints.locations import is_town
from dwm.errors import DwmError
from dwm.evaluation import EvaluationOptions, known_scores
from dwm.evaluation.details import Detail, headline
from dwm.evaluation.intervals import Interval, PairedTest, paired_means, paired_sets
from dwm.evaluation.measure import finite_or_null
from dwm.evaluation.score import NoLooking, Statistics
from dwm.report import Group, Report, Shown, Table, write_report
from dwm.runs import score_record
from dwm.runs.evaluate import EvaluationRun, evaluate
from dwm.runs.looks import KeptClip, load_look, path_of
from dwm.runs.score_tables import number, part_tables, picked, span, standing
from dwm.storage import atomic_write, check_folder
from dwm.training.parallel.ranks import group

FILES = ("comparison.json", "comparison.html")
"""What is written into the output."""
NAMES = ("A", "B")
SURE = 0.05
"""Chance below which a difference is called one."""
SHOWN = 2
"""Clips that the page shows in which the second side came out best, and as many in which it came out worst."""


@dataclass(frozen=True)
class Row:
    """One score of both sides. better: the side whose number is the better one where chance hardly makes such a difference."""

    score: str
    a: Detail
    b: Detail
    test: PairedTest | None
    better: str = ""


@dataclass(frozen=True)
class Comparison:
    rows: tuple[Row, ...]
    numbers: Mapping[str, tuple[Any, Any]]
    clips: int
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Side:
    """An evaluation that was made before. clip_list: of each clip its scene, conditions, kept file and why it was left out."""

    path: Path
    record: Mapping[str, Any]
    details: Mapping[str, Detail]
    clip_list: Sequence[Mapping[str, Any]]
    origin: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Side:
        """Raises DwmError for what is no record, or one whose parts are not what they should be."""
        record = score_record.read(path)
        try:
            details = {
                name: _detail(values) for name, values in record.get("details", {}).items() if name in known_scores()
            }
            clips = [
                {
                    "scene": str(clip["scene"]),
                    "conditions": ", ".join(map(str, clip["conditions"])),
                    "kept": str(clip["kept"]),
                    "left_out": clip["left_out"],
                }
                for clip in record.get("clip_list", ())
            ]
            return cls(path, record, details, clips, dict(record.get("origin", {})))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DwmError(
                f"{path}: details, clip_list or origin are not those of an evaluation ({error}); evaluate again"
            ) from error

    @property
    def scored(self) -> list[int]:
        """The numbers of the clips that were scored, in the order of the details' clips."""
        return [index for index, clip in enumerate(self.clip_list) if not clip["left_out"]]

    def kept(self, clip: int) -> KeptClip | None:
        """What was kept of a clip; None where its file is gone."""
        key = self.clip_list[clip]["kept"]
        folder = self.path if self.path.is_dir() else self.path.parent
        path = path_of(folder, key)
        return load_look(path) if re.fullmatch(r"[0-9a-f]{32}", key) and path.is_file() else None


def is_record(path: Path) -> bool:
    return path.suffix == ".json" or (path / "scores.json").is_file()


def evaluated_both(run: EvaluationRun, weights: Sequence[str], output: Path) -> Comparison | None:
    """Evaluates two folders of weights over the same clips and noise and compares them; None in all processes but the first.

    The second one takes the clips, steps and guidance that the run or the first one's training says.
    """
    from dwm.checkpoints.folder import read_card
    from dwm.checkpoints.locations import resolve
    from dwm.runs.evaluate import completed

    check_folder(output, FILES)
    run = completed(run.with_(weights=weights[0]), read_card(resolve(weights[0])))
    with group(run.device) as device:
        here = run.with_(device=str(device))
        made = [evaluate(here.with_(weights=one), output / name) for one, name in zip(weights, NAMES, strict=True)]
    if None in made:
        return None
    return compared(output / NAMES[0], output / NAMES[1], output)


def compared(first: Path, second: Path, output: Path) -> Comparison:
    """Compares two records and writes a page. Raises DwmError for what is none, and where their protocols differ."""
    check_folder(output, FILES)
    sides = [Side.read(path) for path in (first, second)]
    score_record.require_alike(first, second, sides[0].record, sides[1].record)
    both = sorted(set(sides[0].scored) & set(sides[1].scored))
    kept = [[side.kept(clip) for clip in both] for side in sides]
    rows = tuple(_row(name, sides, both, kept) for name in sides[0].details if name in sides[1].details)
    numbers = score_record.numbers(sides[0].record, sides[1].record)
    files = _written(rows, numbers, sides, both, kept, output)
    return Comparison(rows, numbers, len(both), files)


def _row(name: str, sides: Sequence[Side], both: Sequence[int], kept: Sequence[Sequence[KeptClip | None]]) -> Row:
    details = [side.details[name] for side in sides]
    test = _test(name, sides, both, kept)
    row = Row(name, details[0], details[1], test)
    if test is None or test.p is None or test.p >= SURE or not test.difference:
        return row
    second = (test.difference > 0) == known_scores()[name].higher_is_better
    return Row(name, details[0], details[1], test, NAMES[second])


def _test(
    name: str, sides: Sequence[Side], both: Sequence[int], kept: Sequence[Sequence[KeptClip | None]]
) -> PairedTest | None:
    """None where what is needed is not there any more."""
    values = [_values(side, name, both) for side in sides]
    if values[0] is not None and values[1] is not None:
        known = np.isfinite(values[0]) & np.isfinite(values[1])
        return paired_means(values[0][known], values[1][known]) if known.any() else None
    looks: list[list[Statistics]] = [
        [dict(one.look.statistics[name]) for one in side if one and name in one.look.statistics] for side in kept
    ]
    if not both or any(len(side) != len(both) for side in looks):
        return None
    options = EvaluationOptions.model_validate(
        {**sides[0].record["protocol"]["options"], "scores": [name], "optional": []}
    )
    score = known_scores()[name].make(NoLooking(options))

    def difference(chosen: np.ndarray, exchanged: np.ndarray) -> float:
        a, b = ([looks[side ^ int(exchanged[clip])][clip] for clip in chosen] for side in (0, 1))
        return headline(score, b) - headline(score, a)

    everything, nothing = np.arange(len(both)), np.zeros(len(both), bool)
    try:
        return paired_sets(
            lambda marks: difference(everything, marks),
            lambda part: difference(part, nothing),
            len(both),
            options.draws,
        )
    except DwmError:  # half of the clips have too few samples
        return None


def _values(side: Side, name: str, both: Sequence[int]) -> np.ndarray | None:
    clips = side.details[name].clips
    if clips is None or len(clips) != len(side.scored):
        return None
    at = dict(zip(side.scored, clips, strict=True))
    return np.array([at[clip] for clip in both], float)


def _written(
    rows: Sequence[Row],
    numbers: Mapping[str, tuple[Any, Any]],
    sides: Sequence[Side],
    both: Sequence[int],
    kept: Sequence[Sequence[KeptClip | None]],
    output: Path,
) -> tuple[Path, ...]:
    about = {name: {"path": str(side.path), **side.origin} for name, side in zip(NAMES, sides, strict=True)}
    saved = {"sides": about, "clips": len(both), "scores": [asdict(row) for row in rows], "numbers": numbers}
    with atomic_write(output / FILES[0]) as temporary:
        temporary.write_text(json.dumps(finite_or_null(saved), indent=2, default=str) + "\n", encoding="utf-8")
    groups = _groups(rows, sides, both, kept)
    if not groups:
        return (output / FILES[0],)
    facts = {name: _origin_line(side) for name, side in zip(NAMES, sides, strict=True)}
    title = "Two evaluations of the same clips"
    lead = f"A is {sides[0].path}, B is {sides[1].path}; {len(both)} clips, the same noise."
    report = Report(title, lead, groups, facts=facts, tables=[_table(rows), *_parts(rows)], numbers_first=True)
    return (output / FILES[0], write_report(output / FILES[1], report))


def _groups(
    rows: Sequence[Row], sides: Sequence[Side], both: Sequence[int], kept: Sequence[Sequence[KeptClip | None]]
) -> list[Group]:
    """The clips in which B gains most on A, and those in which it loses most."""
    values = {row.score: [_values(side, row.score, both) for side in sides] for row in rows}
    gains = standing({name: b - a for name, (a, b) in values.items() if a is not None and b is not None})
    words = {"Best": "B gains most", "Worst": "B loses most", "Shown": "Clip"}
    groups = []
    for how, index in picked(range(len(both)), gains, SHOWN):
        a, b = (side[index] for side in kept)
        if a is None or b is None:
            continue
        videos = {**a.videos, NAMES[0]: a.videos["generated"], NAMES[1]: b.videos["generated"]}
        del videos["generated"]
        clip = sides[0].clip_list[both[index]]
        title = f"{words[how]}: {clip['scene']}" + (f" ({clip['conditions']})" if clip["conditions"] else "")
        groups.append(Group(title, [Shown(*item) for item in videos.items()]))
    return groups


def _table(rows: Sequence[Row]) -> Table:
    columns = ("score", "A", "95 %", "B", "95 %", "B − A", "95 %", "p", "better")
    text = (
        "Intervals are over clips. p: how often chance alone makes a difference as large, by exchanging A's and B's videos clip by "
        f"clip; the better side is named where that is below {SURE:g}. Many scores find one by chance sooner than one score."
    )
    return Table("A against B", columns, [cells(row) for row in rows], text)


def cells(row: Row) -> tuple[str, ...]:
    """A row as words."""
    test = row.test
    tested = ("–", "–", "–") if test is None else (number(test.difference), span(test.interval), number(test.p))
    sides = [text for side in (row.a, row.b) for text in (number(side.headline), span(side.interval))]
    return (row.score, *sides, *tested, row.better or "–")


def _parts(rows: Sequence[Row]) -> list[Table]:
    return part_tables([{row.score: getattr(row, side) for row in rows} for side in ("a", "b")], NAMES)


def _origin_line(side: Side) -> str:
    origin = side.origin
    sha = str(origin.get("weights_sha256") or "")[:12]
    return (
        f"{side.path}: {origin.get('weights')} ({sha}), {origin.get('steps')} steps, guidance {origin.get('guidance')}, data "
        f"{origin.get('data') or 'town'}"
    )


def _detail(values: Mapping[str, Any]) -> Detail:
    """A detail as it stands in a record, where what is no number is null."""
    interval, clips = values.get("interval"), values.get("clips")
    parts = {part: values.get(part) and {key: _float(value) for key, value in values[part].items()} for part in PARTS}
    return Detail(
        _float(values["headline"]),
        interval and Interval(_float(interval["low"]), _float(interval["high"])),
        None if clips is None else tuple(map(_float, clips)),
        **parts,
    )


PARTS = ("views", "conditions")


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)


def weights_named(names: Sequence[Path]) -> list[str]:
    """Names on the command line as weights. Raises DwmError where one is neither weights nor a record."""
    for name in names:
        if is_record(name):
            raise DwmError(
                f"{name}: is a record of scores, the other one is not; compare two records or two folders of weights"
            )
        if not is_town(str(name)) and not name.exists():
            raise DwmError(f"{name}: no such folder of weights, and no record of scores")
    return [str(name) for name in names]
