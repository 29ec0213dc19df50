"""Ways to compute less that change pictures a little, by name: what is left out, and when. Knows no network and no solver."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, model_validator

from dwm.options import Options


class Shortcuts(Options):
    """None by default. Both work with any weights; `dwm generate --verify` measures what they are worth and what they cost."""

    guidance_interval: tuple[float, float] = Field(
        (0.0, 1.0),
        description="share of the steps from noise to pictures in which guidance works; outside it half the work",
    )
    cache: float = Field(
        0.0,
        ge=0,
        le=1,
        description="how much the network's first block may change, relatively, for the others to be taken from a step before; "
        "0: not at all",
    )

    @model_validator(mode="after")
    def _is_interval(self) -> Shortcuts:
        begin, end = self.guidance_interval
        if not 0 <= begin < end <= 1:
            raise ValueError(f"guidance_interval {begin:g}:{end:g} is no part of 0:1")
        return self

    @property
    def always_guided(self) -> bool:
        return self.guidance_interval == (0.0, 1.0)

    @property
    def exact(self) -> bool:
        return self.always_guided and not self.cache

    def guided(self, indices: Sequence[int], steps: int) -> list[bool]:
        """Whether guidance works at each of these indices of a solver of `steps` steps."""
        begin, end = self.guidance_interval
        return [begin <= index / steps < end for index in indices]

    def named(self) -> str:
        """For people."""
        parts = (
            [] if self.always_guided else ["guidance from {:g} to {:g} of the steps".format(*self.guidance_interval)]
        )
        return " and ".join([*parts, *([f"first-block cache {self.cache:g}"] if self.cache else [])])


EXACT = Shortcuts()
