"""How the gradients of the calls that a process makes in one step become one, and what the learning rate's schedule counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Reduction:
    """averages: gradients are averaged over a process's calls, not summed. counts_calls: the schedule counts calls, not steps."""

    averages: bool
    counts_calls: bool

    def weight(self, calls: int) -> float:
        """What the loss of one of so many calls is multiplied by."""
        return 1 / calls if self.averages else 1.0

    def counted(self, calls: int) -> int:
        """How far a step of so many calls moves the schedule."""
        return calls if self.counts_calls else 1


MEAN = Reduction(averages=True, counts_calls=False)
SUM = Reduction(averages=False, counts_calls=True)
"""As OpenDWM trains."""
REDUCTIONS: dict[Literal["ours", "reference"], Reduction] = {"ours": MEAN, "reference": SUM}
"""By a run's `compatibility`."""
