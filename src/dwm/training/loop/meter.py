"""What a run did since the last line of its log. Losses stay on the device until they are asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache

import torch
from torch import Tensor

from dwm.devices import peak_memory, peak_rate
from dwm.errors import DwmError
from dwm.training.loop.task import Losses, Work
from dwm.training.parallel.ranks import Ranks

SHOWN = 3
"""Batches that are named when a loss is not a number."""


class Meter:
    """Sums of this process; `check` and `line` put those of all processes together, so all must call them."""

    def __init__(self, ranks: Ranks, device: torch.device, dtype: torch.dtype):
        self.ranks, self.device, self.dtype = ranks, device, dtype
        self._numbers: list[int] = []
        self._identities: dict[int, str] = {}
        self._scalars: dict[str, list[Tensor]] = {}
        self.at_hand = "no data yet"
        """The newest micro-batch, for people."""
        self._begin()

    def take(self, number: int, identity: str) -> None:
        """Notes which data come next."""
        self._numbers.append(number)
        self._identities[number] = self.at_hand = identity

    def batch(self, losses: Losses, work: Work) -> None:
        """Notes what was computed from them."""
        self._note("loss", losses.loss)
        for name, (total, count) in losses.parts.items():
            self._note(f"sum {name}", total)
            self._note(f"count {name}", count)
        self._sums["micro-batches"] += 1
        self._sums["clips"] += work.clips
        self._sums["tokens"] += work.tokens
        self._sums["operations"] += work.operations

    def step(self, norm: Tensor, waited: float) -> None:
        """Notes a step: its gradient's norm, and the seconds that it waited for data."""
        self._note("gradient_norm", norm)
        self._sums["steps"] += 1
        self._sums["waited"] += waited

    def check(self, accumulate: int, last_save: Callable[[], str]) -> None:
        """Reads what the device computed. Raises DwmError where a loss or a gradient is not a number."""
        wrong: list[tuple[int, str]] = []
        for name, values in self._scalars.items():
            read = torch.stack([value.float() for value in values]).tolist()
            self._sums[name] = self._sums.get(name, 0.0) + math.fsum(read)
            bad = next((i for i, value in enumerate(read) if not math.isfinite(value)), None)
            if bad is not None and name == "loss":
                number = self._numbers[bad]
                wrong.append((number // accumulate + 1, f"the loss is {read[bad]}, for {self._identities[number]}"))
            elif bad is not None and name == "gradient_norm":
                step = self._numbers[0] // accumulate + 1 + bad
                wrong.append((step, f"the gradient is {read[bad]}, for {self._data(step, accumulate)}"))
        faults = [one for ones in self.ranks.gather(wrong) for one in ones]
        if faults:
            save_line = last_save()
            if not self.ranks.first:
                raise SystemExit(1)  # the first process says it for all
            step, what = min(faults, key=lambda one: one[0])
            raise DwmError(
                f"step {step}: {what}; that is not a number; {save_line}; look at these data, or lower the rate"
            )
        self._scalars.clear()
        self._numbers.clear()
        self._identities.clear()

    def line(self, step: int, steps: int, rates: Mapping[str, float]) -> dict[str, float]:
        """What a line of the log says: means since the last one. To be called right after `check`."""
        totals = _added(self.ranks.gather(self._sums))
        count, counted = self.ranks.count, totals["steps"] / self.ranks.count
        seconds = (time.perf_counter() - self.started) / counted
        entry = {"step": step, "loss": totals["loss"] / totals["micro-batches"]}
        for name in parts(totals):
            if totals[f"count {name}"]:
                entry[name] = totals[f"sum {name}"] / totals[f"count {name}"]
        entry["gradient_norm"] = totals["gradient_norm"] / totals["steps"]
        entry.update(rates)
        entry["seconds"] = seconds
        entry["clips_per_second"] = totals["clips"] / counted / seconds
        if totals["tokens"]:
            entry["tokens_per_second"] = totals["tokens"] / counted / seconds
        if totals["operations"]:
            rate = totals["operations"] / counted / seconds
            entry["share_of_peak"] = rate / count / measured_peak(self.device, self.dtype)
        entry["waiting"] = totals["waited"] / count / counted / seconds
        entry["memory_gb"] = peak_memory(self.device) / 1e9
        entry["left"] = (steps - step) * seconds
        self._begin()
        return entry

    def _begin(self) -> None:
        self.started = time.perf_counter()
        self._sums = dict.fromkeys(("micro-batches", "steps", "clips", "tokens", "operations", "waited"), 0.0)

    def _note(self, name: str, value: Tensor) -> None:
        self._scalars.setdefault(name, []).append(value)

    def _data(self, step: int, accumulate: int) -> str:
        names = [self._identities[number] for number in self._numbers if number // accumulate + 1 == step]
        return "; ".join(names[:SHOWN]) + ("; …" if len(names) > SHOWN else "")


@cache
def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The device's best rate, measured when it is first asked for."""
    return peak_rate(device, dtype, seconds=0.3)


def parts(names: Iterable[str]) -> list[str]:
    """The parts of the loss among the meter's sums."""
    return sorted(name.removeprefix("count ") for name in names if name.startswith("count "))


def _added(each: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in each:
        for name, value in one.items():
            total[name] = total.get(name, 0.0) + value
    return total
