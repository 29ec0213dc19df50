"""The next batch's copy is queued before this one is worked on, and work waits for it in the device's queue alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from dwm.devices import ahead
from dwm.devices.machine import pick_device

room = sys.modules["dwm.devices.ahead"]  # the package's name `ahead` is the function


class Queue:
    """A device that writes down what each of its streams is given, in the order in which that comes."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.current = "work"

    def Stream(self, device: Any) -> Line:
        return Line(self, "copies")

    def current_stream(self, device: Any) -> Line:
        return Line(self, self.current)

    @contextmanager
    def stream(self, line: Line) -> Iterator[None]:
        before, self.current = self.current, line.name
        yield
        self.current = before


@dataclass
class Line:
    queue: Queue
    name: str

    def wait_stream(self, other: Line) -> None:
        self.queue.events.append(f"{self.name} waits for {other.name}")


@dataclass
class Numbered:
    """A batch whose one tensor says what happens to it."""

    number: int
    queue: Queue

    def map(self, change: Callable[[Any], Any]) -> Numbered:
        change(self)
        return self

    def to(self, device: Any) -> Numbered:
        self.queue.events.append(f"{self.queue.current}: copy {self.number}")
        return self

    def record_stream(self, line: Line) -> None:
        self.queue.events.append(f"{self.number} belongs to {line.name}")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("kind", ["cuda", "npu"])
def test_the_next_copy_is_queued_before_this_batch_is_worked_on(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue()
    monkeypatch.setattr(room, "vendor", lambda name: queue)
    monkeypatch.setattr(room, "send", lambda tensor, device: tensor)

    class Device:  # PyTorch knows no npu where its library is not there
        type = kind

    for batch in ahead(iter([Numbered(number, queue) for number in range(3)]), Device()):  # type: ignore[arg-type]
        queue.events.append(f"work on {batch.number}")
    assert queue.events == [
        "copies: copy 0",
        *("work waits for copies", "0 belongs to work", "copies: copy 1", "work on 0"),
        *("work waits for copies", "1 belongs to work", "copies: copy 2", "work on 1"),
        *("work waits for copies", "2 belongs to work", "work on 2"),
    ]


def test_a_processor_reads_nothing_ahead() -> None:
    batches = iter([1, 2, 3])
    taken = ahead(batches, pick_device("cpu"))  # type: ignore[type-var]
    assert next(taken) == 1 and list(batches) == [2, 3]
