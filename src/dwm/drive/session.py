"""A driving world that goes on while people look at it: one thread drives it, any number read its newest pictures.

Nothing waits in a queue: of what is pressed the latest counts, of what is drawn each reader gets the latest. A slow network slows
the world; a slow reader misses pictures. It knows no browser.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Protocol, runtime_checkable

from dwm.drive.script import Control
from dwm.drive.source import Action, Moment
from dwm.drive.world import DrivingWorld, Picture
from dwm.errors import DwmError

MEASURED = 12
"""Pictures over which rate and latency are averaged."""


@dataclass(frozen=True)
class Frame:
    """A picture and what a reader shows beside it.

    rate: frames a second, of late; latency: seconds from an action's arrival to its first picture, of late (None: none yet);
    answers: who acted last before this picture was told, and the number of that action.
    """

    picture: Picture
    rate: float
    latency: float | None
    answers: tuple[str, int]
    recording: bool


@runtime_checkable
class Reader(Protocol):
    """Who looks. Both are called from any thread and must not wait."""

    def show(self, frame: Frame) -> None: ...

    def say(self, text: str) -> None: ...


@runtime_checkable
class Recording(Protocol):
    """Where a drive is kept."""

    def tick(self, control: Control, pictures: tuple[Picture, ...]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Orders:
    """What was asked for since the last tick, of each kind the latest."""

    prompt: str | None = None
    time: str | None = None
    weather: str | None = None
    reset: int | None = None
    record: bool | None = None

    @property
    def any(self) -> bool:
        return self != Orders()


@dataclass
class _Pressed:
    """The action that holds, who gave it, its number, when it came, and whether a picture answered it yet."""

    action: Action = field(default_factory=Action)
    who: str = ""
    number: int = 0
    since: float = 0.0
    answered: bool = True


class Session:
    """Drives `world` until `stop`. `begin(seed)` is a drive's beginning, `record()` opens a place where it is kept."""

    def __init__(
        self,
        world: DrivingWorld,
        begin: Callable[[int | None], Moment],
        record: Callable[[], Recording] | None = None,
    ) -> None:
        self.world, self.begin, self.open_recording = world, begin, record
        self.changed = threading.Condition()
        self.pressed = _Pressed(Action(autopilot=True))
        self.orders, self.paused, self.single, self.stopped = Orders(), False, 0, False
        self.readers: set[Reader] = set()
        self.recording: Recording | None = None
        self.tick = 0
        self.told: deque[_Pressed] = deque()
        self.latencies: deque[float] = deque(maxlen=MEASURED)
        self.shown: deque[float] = deque(maxlen=MEASURED)

    # From any thread.

    def act(self, action: Action, who: str = "", number: int = 0) -> None:
        """From the next tick on, until another comes."""
        with self.changed:
            if (action, who) != (self.pressed.action, self.pressed.who):
                self.pressed = _Pressed(action, who, number, time.monotonic(), False)
            self.changed.notify()

    def leave(self, who: str) -> None:
        """Whoever held the pedals is gone: nobody does."""
        with self.changed:
            if self.pressed.who == who and not self.pressed.action.autopilot:
                self.pressed = _Pressed(Action(brake=0.3))

    def order(self, orders: Orders) -> None:
        """Words, a reset or a recording from the next tick on; what is None stays as it was asked for before."""
        with self.changed:
            new = {item.name: value for item in fields(Orders) if (value := getattr(orders, item.name)) is not None}
            self.orders = Orders(**{**vars(self.orders), **new})
            self.changed.notify()

    def pause(self, paused: bool) -> None:
        with self.changed:
            news, self.paused = self.paused != paused, paused
            self.changed.notify()
        if news:
            self._say("paused" if paused else "goes on")

    def one_step(self) -> None:
        """A single tick of a world that stands."""
        self.pause(True)
        with self.changed:
            self.single = 1
            self.changed.notify()

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify()

    def join(self, reader: Reader) -> None:
        with self.changed:
            self.readers.add(reader)

    def part(self, reader: Reader) -> None:
        with self.changed:
            self.readers.discard(reader)

    # In the thread that drives.

    def run(self) -> None:
        """Drives on and on. What is wrong with an order is said to the readers; where the world ends, it stands until a reset."""
        due = time.monotonic()
        try:
            while (taken := self._take()) is not None:
                try:
                    self._tick(*taken)
                except DwmError as error:
                    with self.changed:
                        self.paused = True
                    self._say(str(error))
                # Never faster than the world's clock; what was lost by a slow network is not made up for.
                due = max(due + 1 / self.world.source.fps, time.monotonic())
                self._wait_until(due)
        finally:
            self._close_recording()

    def _take(self) -> tuple[_Pressed, Orders] | None:
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or not self.paused or self.single or self.orders.any)
            if self.stopped:
                return None
            orders, self.orders, self.single = self.orders, Orders(), 0
            return self.pressed, orders

    def _wait_until(self, due: float) -> None:
        with self.changed:
            while not self.stopped and (left := due - time.monotonic()) > 0:
                self.changed.wait(left)

    def _tick(self, pressed: _Pressed, orders: Orders) -> None:
        orders = self._start_or_stop_recording(orders)
        if orders.reset is not None:
            self.begin(orders.reset)
            self.told.clear()
        control = Control(self.tick, pressed.action, orders.prompt, orders.time, orders.weather, orders.reset)
        replace(control, reset=None).apply(self.world)
        pictures, moment = self.world.step(pressed.action)
        self.told.append(pressed)
        self.tick += 1
        if self.recording is not None:
            self.recording.tick(control, pictures)
        for note in moment.notes:
            self._say(note)
        for picture in pictures:
            self._show(picture, self.told.popleft())

    def _start_or_stop_recording(self, orders: Orders) -> Orders:
        """A record begins where a drive does, so that it can be driven again."""
        if orders.record is None or orders.record == (self.recording is not None):
            return orders
        self._close_recording()
        if orders.record:
            if self.open_recording is None:
                raise DwmError("nothing is recorded here; start dwm drive with -o FOLDER")
            self.begin(orders.reset)
            self.told.clear()
            self.tick = 0
            self.recording = self.open_recording()
            return replace(orders, reset=None)
        return orders

    def _close_recording(self) -> None:
        if self.recording is not None:
            self.recording.close()
            self.recording = None

    def _show(self, picture: Picture, pressed: _Pressed) -> None:
        now = time.monotonic()
        self.shown.append(now)
        if not pressed.answered:
            pressed.answered = True
            self.latencies.append(now - pressed.since)
        rate = (len(self.shown) - 1) / (now - self.shown[0]) if len(self.shown) > 1 and now > self.shown[0] else 0.0
        latency = sum(self.latencies) / len(self.latencies) if self.latencies else None
        frame = Frame(picture, rate, latency, (pressed.who, pressed.number), self.recording is not None)
        for reader in self._readers():
            reader.show(frame)

    def _say(self, text: str) -> None:
        for reader in self._readers():
            reader.say(text)

    def _readers(self) -> tuple[Reader, ...]:
        with self.changed:
            return tuple(self.readers)
