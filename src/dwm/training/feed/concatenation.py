"""Several sources as one list of clips: one after another, or weighted. Knows only their lengths."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil

from dwm.errors import DwmError


@dataclass(frozen=True)
class Joined:
    """Clip i of all belongs to the source in whose range it lies; `ends` are the ranges' ends."""

    lengths: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, lengths: Sequence[int], ratios: Sequence[float | None] = ()) -> Joined:
        """With ratios (of all clips that are seen, relative to each other) the list is as long as it must be for every clip
        of every source to be in it; smaller sources come again and again. Without, each clip is there once."""
        known_ratios = [ratio for ratio in ratios if ratio is not None]
        if not known_ratios:
            return cls(tuple(lengths), tuple(accumulate(lengths)))
        if len(known_ratios) < len(lengths):
            raise DwmError("data.train: a ratio is given for some sets only; give it for all or for none")
        shares = [ratio / sum(known_ratios) for ratio in known_ratios]
        size = max(ceil(round(length / share, 6)) for length, share in zip(lengths, shares, strict=True))
        ends: list[int] = []
        for share, length in zip(accumulate(shares), lengths, strict=True):
            # Rounding down must not leave out a clip.
            ends.append(max(int(share * size + 1e-6), (ends[-1] if ends else 0) + length))
        return cls(tuple(lengths), tuple(ends))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def locate(self, clip: int) -> tuple[int, int]:
        """The source of a clip, and its number there."""
        source = bisect_right(self.ends, clip)
        return source, clip % self.lengths[source] if self.weighted else clip - self.range(source).start

    def range(self, source: int) -> range:
        return range(self.ends[source - 1] if source else 0, self.ends[source])

    @property
    def weighted(self) -> bool:
        return self.ends != tuple(accumulate(self.lengths))
