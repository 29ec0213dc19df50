"""The base of all option classes: typed, frozen, and closed to unknown keys. Knows nothing of files or recipes."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

Self = TypeVar("Self", bound="Options")


class Options(BaseModel):
    """A frozen group of settings. Each field carries `Field(description=…)`: meaning and unit, shown by `dwm show config`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def with_(self: Self, **changes: Any) -> Self:
        """A checked copy with some fields changed."""
        kind = self.__class__
        return kind.model_validate({**{name: getattr(self, name) for name in kind.model_fields}, **changes})
