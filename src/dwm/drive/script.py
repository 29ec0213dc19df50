"""What was done in a drive, as a file: one JSON object a line, each at its tick, so that the same drive can be driven again.

The first line of a record holds the run, the last one its length and the digest of its pictures; a script that was written by
hand needs neither. What a line does not name stays as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from dwm.drive.source import Action
from dwm.drive.world import DrivingWorld, Picture
from dwm.errors import DwmError, nearest
from dwm.storage import read_file
from dwm.strict_json import parse_json

MOST_BYTES = 256 << 20
LONGEST = 10_000_000
"""Ticks of a script; a month at four a second."""
PEDALS = tuple(Action.__dataclass_fields__)
WORDS = ("prompt", "time", "weather")
KEYS = ("tick", *PEDALS, *WORDS, "reset")


@dataclass(frozen=True)
class Control:
    """What the driver does from a tick on. Empty words are the source's own; None: not changed. reset: the seed of a new start."""

    tick: int
    action: Action
    prompt: str | None = None
    time: str | None = None
    weather: str | None = None
    reset: int | None = None

    def apply(self, world: DrivingWorld) -> None:
        """Everything but the action, which holds on."""
        if self.reset is not None:
            world.reset(self.reset)
        if self.prompt is not None:
            world.tell(self.prompt or None)
        if self.time is not None or self.weather is not None:
            world.change(self.time, self.weather)


@dataclass(frozen=True)
class Script:
    """Controls by tick, in order; `run` (settings as JSON has them), `ticks` and `digest` only of a finished record."""

    controls: tuple[Control, ...]
    run: Mapping[str, Any] | None = None
    ticks: int | None = None
    digest: str | None = None


AUTOPILOT = Script((Control(0, Action(autopilot=True)),))


def read_script(path: str | Path) -> Script:
    """Reads a script or a record. Raises DwmError with the line of what is wrong."""
    run, ticks, digest = None, None, None
    controls: list[Control] = []
    action, last = Action(), -1
    for number, line in enumerate(read_file(path, MOST_BYTES).split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        values = parse_json(line, where, "write one JSON object a line")
        if not isinstance(values, dict):
            raise DwmError(f'{where}: is no object; write {{"tick": 0, "throttle": 0.5}}')
        if "run" in values and number == 1:
            run = _object(values["run"], f"{where}: run")
        elif "ticks" in values:
            ticks, digest = _whole(values["ticks"], f"{where}: ticks"), str(values.get("digest", ""))
        else:
            control = _control(values, action, where)
            if control.tick <= last:
                raise DwmError(f"{where}: tick {control.tick} is not behind the {last} before it")
            controls.append(control)
            action, last = control.action, control.tick
    if not controls and run is None:
        raise DwmError(f'{path}: holds no control; write one a line, such as {{"tick": 0, "autopilot": true}}')
    return Script(tuple(controls), run, ticks, digest)


def _control(values: Mapping[str, Any], action: Action, where: str) -> Control:
    for key in values:
        if key not in KEYS:
            raise DwmError(f"{where}: {key} is not known{nearest(key, KEYS)} (known: {', '.join(KEYS)})")
    if "tick" not in values:
        raise DwmError(f"{where}: has no tick; count them from 0")
    words = {name: values[name] for name in WORDS if name in values}
    for name, text in words.items():
        if not isinstance(text, str):
            raise DwmError(f"{where}: {name} is {text!r}; give a text")
    try:
        action = replace(action, **{name: values[name] for name in PEDALS if name in values})
    except DwmError as error:
        raise DwmError(f"{where}: {error}") from None
    reset = _whole(values["reset"], f"{where}: reset") if "reset" in values else None
    return Control(_whole(values["tick"], f"{where}: tick"), action, reset=reset, **words)


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LONGEST:
        raise DwmError(f"{where} is {value!r}; give a whole number from 0 to {LONGEST:,}")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DwmError(f"{where} is {value!r}; it holds the settings of a run")
    return value


class Recorder:
    """Writes a drive down while it goes on. After each tick the file is whole, so that nothing is lost whatever happens."""

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.file = path.open("wb")
        self.digest, self.ticks = self.new_digest(), 0
        self.action: Action | None = None
        self.file.write(_line({"run": dict(run)}))
        self._end()

    @staticmethod
    def new_digest() -> Any:
        """What the bytes of all pictures, one after another, are fed to."""
        return hashlib.sha256()

    def tick(self, control: Control, pictures: Sequence[Picture]) -> None:
        """Notes what was done in one tick, if it is anything else than before, and the pictures that it finished."""
        values: dict[str, Any] = {"tick": control.tick}
        before = {} if self.action is None else asdict(self.action)
        values |= {name: value for name, value in asdict(control.action).items() if before.get(name) != value}
        extra = {name: getattr(control, name) for name in (*WORDS, "reset")}
        values |= {name: value for name, value in extra.items() if value is not None}
        if len(values) > 1:
            self.file.write(_line(values))
        self.action, self.ticks = control.action, control.tick + 1
        for picture in pictures:
            self.digest.update(picture.views.tobytes())
        self._end()

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self) -> None:
        """The last line, over which the next one is written."""
        here = self.file.tell()
        self.file.write(_line({"ticks": self.ticks, "digest": self.digest.hexdigest()}))
        self.file.truncate()
        self.file.flush()
        self.file.seek(here)


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"
