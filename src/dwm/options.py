"""The base of all option classes: typed, frozen, and closed to unknown keys. Knows nothing of files or recipes."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator

Self = TypeVar("Self", bound="Options")


class Options(BaseModel):
    """A frozen group of settings. Each field carries `Field(description=…)`: meaning and unit, shown by `dwm show config`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        """Whole numbers that no machine counts to would come to light far away, as an overflow."""
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise ValueError(f"{value:.3g} is beyond the whole numbers that there are")
        return value

    def with_(self: Self, **changes: Any) -> Self:
        """A checked copy with some fields changed."""
        kind = self.__class__
        return kind.model_validate({**{name: getattr(self, name) for name in kind.model_fields}, **changes})


MOST_NAMES = 64
"""Cameras of a run; no rig has a third of them."""


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > MOST_NAMES:
        raise ValueError(f"{len(names)} names; {MOST_NAMES} at most")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice} is named twice")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_different)]
"""Names of different things: cameras, of which one would be computed again for nothing."""
