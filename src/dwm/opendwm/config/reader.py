"""Reads a foreign JSON config section by section: every key is taken, or left out with a reason, or an error that names it.

It imports nothing by a name in the file: class names are only compared with the tables of this room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dwm.errors import DwmError, nearest
from dwm.opendwm.config.names import NAMES

CLASS = "_class_name"
_MISSING: Any = object()


@dataclass(frozen=True)
class Ignored:
    """A key that has no counterpart here, and why."""

    path: str
    reason: str


@dataclass
class Ledger:
    """What a translation left out, and what it wants said."""

    source: str
    ignored: list[Ignored] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class Section:
    """One object of the file. Whoever reads it ends with `close`, which refuses keys that nobody asked for."""

    def __init__(self, values: Any, path: str, ledger: Ledger):
        self.path, self.ledger = path, ledger
        if not isinstance(values, Mapping):
            raise self.fault("", f"expected an object {{…}}, found {type(values).__name__}")
        self._values = dict(values)
        self._read_keys: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def fault(self, key: str, text: str) -> DwmError:
        where = self.at(key) if key else self.path
        return DwmError(f"{self.ledger.source}: {where + ': ' if where else ''}{text}")

    def take(self, key: str, default: Any = _MISSING) -> Any:
        """The value of a key; without a default the key must be there."""
        self._read_keys.add(key)
        if key in self._values:
            return self._values[key]
        if default is _MISSING:
            raise self.fault(key, f"is missing{nearest(key, self._values)}")
        return default

    def take_as(self, kind: type | tuple[type, ...], key: str, default: Any = _MISSING) -> Any:
        """The same, of a given type."""
        value = self.take(key, default)
        if key in self._values and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            names = kind.__name__ if isinstance(kind, type) else " or ".join(item.__name__ for item in kind)
            raise self.fault(key, f"expected {names}, found {value!r}"[:160])
        return value

    def section(self, key: str) -> Section:
        return Section(self.take(key), self.at(key), self.ledger)

    def maybe(self, key: str) -> Section | None:
        """The object of a key, or None where there is none or it is null."""
        return None if self.take(key, None) is None else self.section(key)

    def sections(self, key: str, default: Any = _MISSING) -> list[Section]:
        """The objects of a list."""
        values = self.take_as(list, key, default)
        return [Section(value, f"{self.at(key)}.{index}", self.ledger) for index, value in enumerate(values)]

    def ignore(self, reason: str, *keys: str) -> None:
        """Keys that are left out where they stand, whatever lies below them; class names in there must still be known."""
        for key in keys:
            self._read_keys.add(key)
            if key in self._values:
                check_names(self._values[key], self.at(key), self.ledger.source)
                self.ledger.ignored.append(Ignored(self.at(key), reason))

    def leave_out(self, key: str, reason: str) -> None:
        """Lists a part of a key that was taken, but has no counterpart here."""
        self.ledger.ignored.append(Ignored(self.at(key), reason))

    def class_name(self, names: Iterable[str]) -> str:
        """The class that the section names, one of `known`."""
        names = tuple(names)
        name = self.take(CLASS)
        if name not in names:
            hint = nearest(str(name), names)
            raise self.fault(CLASS, f"{str(name)[:80]!r} is not known{hint}; known here: {', '.join(names)}")
        return name

    def is_class(self, name: str) -> bool:
        return self._values.get(CLASS) == name

    def unread(self) -> list[str]:
        """The keys that nobody asked for yet, without the class name."""
        return [key for key in self._values if key not in self._read_keys and key != CLASS]

    def rest(self) -> dict[str, Any]:
        """Everything that nobody asked for yet, without the class name; counts as taken."""
        values = {key: self._values[key] for key in self.unread()}
        self._read_keys.update(values)
        return values

    def close(self, also: Iterable[str] = ()) -> None:
        """Raises DwmError for the first key that nobody asked for; `also` names keys that could have been."""
        self._read_keys.add(CLASS)
        for key in self._values:
            if key not in self._read_keys:
                names = sorted({*self._read_keys, *also} - {CLASS})
                raise DwmError(f"{self.ledger.source}: {self.at(key)} is not known{nearest(key, names)}")


def check_names(values: Any, path: str, source: str) -> None:
    """Raises DwmError for a class name, anywhere below, that no file of OpenDWM's mentions."""
    if isinstance(values, Mapping):
        classes = [(CLASS, values.get(CLASS)), ("class_name", values.get("class_name"))]
        for key, name in classes:
            if name is not None and not (isinstance(name, str) and name in NAMES):
                hint = nearest(str(name), NAMES)
                raise DwmError(f"{source}: {path}.{key}: {str(name)[:80]!r} is not a class that we know{hint}")
        for key, value in values.items():
            check_names(value, f"{path}.{key}" if path else str(key), source)
    elif isinstance(values, list):
        for index, value in enumerate(values):
            check_names(value, f"{path}.{index}", source)
