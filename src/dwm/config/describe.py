"""What each setting of a run is: its value, meaning, unit and default. For `dwm show config`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticUndefined

from dwm.options import Options


@dataclass(frozen=True)
class Setting:
    """One line of `dwm show config`. default is None where a value must be given."""

    key: str
    value: Any
    meaning: str
    default: Any

    @property
    def is_default(self) -> bool:
        return self.value == self.default


def settings(options: Options, prefix: str = "") -> Iterator[Setting]:
    """Every single setting below `options`, depth first, in the order of the fields."""
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if isinstance(value, Options):
            yield from settings(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and any(isinstance(item, Options) for item in value):
            for index, item in enumerate(value):
                yield from settings(item, f"{prefix}{name}.{index}.")
        else:
            default = field.get_default(call_default_factory=True)
            default = None if default is PydanticUndefined else default
            yield Setting(prefix + name, value, field.description or "", default)
