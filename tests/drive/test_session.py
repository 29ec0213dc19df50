"""A session and its page: nothing waits in a queue, nobody delays it, and what comes from a browser is taken with care."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from PIL import Image

from dwm.drive import Action, DrivingWorld, Moment, town_source
from dwm.drive.session import Frame, Orders, Session
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline

websockets = pytest.importorskip("websockets", reason="dwm[drive] is not installed")
from dwm.drive.server import Server, listening  # noqa: E402


@pytest.fixture
def world(pipe: DrivingPipeline) -> DrivingWorld:
    # A fast clock, which nobody waits for.
    return DrivingWorld(pipe, town_source(7, 1, fps=50.0), seed=5, with_real=True)


class Looker:
    """A reader that remembers what it was shown."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.texts: list[str] = []

    def show(self, frame: Frame) -> None:
        self.frames.append(frame)

    def say(self, text: str) -> None:
        self.texts.append(text)


@contextmanager
def running(session: Session) -> Iterator[Session]:
    thread = threading.Thread(target=session.run, daemon=True)
    thread.start()
    try:
        yield session
    finally:
        session.stop()
        thread.join(timeout=20)
        assert not thread.is_alive()


def until(true: Callable[[], object], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


@contextmanager
def served(world: DrivingWorld) -> Iterator[Server]:
    session = Session(world, world.reset)
    server = Server(session, listening("127.0.0.1", 0), "127.0.0.1", {"times": ["day"]})
    server.start()
    try:
        with running(session):
            yield server
    finally:
        server.stop()


def page_of(server: Server) -> str:
    with urllib.request.urlopen(server.url) as answer:
        return answer.read().decode()


def connected(server: Server, origin: str | None = "own", token: str | None = None, **options):
    own = f"http://127.0.0.1:{server.port}"
    token = server.token if token is None else token
    address = f"ws://127.0.0.1:{server.port}/drive?token={token}"
    return websockets.connect(address, origin=own if origin == "own" else origin, **options)


async def next_frame(browser) -> tuple[dict, bytes]:
    while isinstance(message := await asyncio.wait_for(browser.recv(), 40), str):
        pass
    length = int.from_bytes(message[:4], "little")
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def test_what_is_pressed_counts_from_the_next_tick_on_and_its_picture_says_so(world: DrivingWorld) -> None:
    session, looker = Session(world, world.reset), Looker()
    session.join(looker)
    with running(session):
        until(lambda: len(looker.frames) > 2)
        session.act(Action(throttle=1.0), "me", 7)
        until(lambda: looker.frames[-1].answers == ("me", 7))
        first = next(frame for frame in looker.frames if frame.answers == ("me", 7))
        assert not first.picture.moment.autopilot and first.latency is not None
        until(lambda: len(looker.frames) > first.picture.frame + 3)
    assert [frame.picture.frame for frame in looker.frames] == list(range(len(looker.frames)))


def test_a_world_that_stands_goes_on_step_by_step(world: DrivingWorld) -> None:
    session, looker = Session(world, world.reset), Looker()
    session.pause(True)
    with running(session):
        time.sleep(0.2)
        assert world.frame == 0
        session.one_step()
        until(lambda: world.frame == 1)
        time.sleep(0.2)
        assert world.frame == 1
    assert not looker.frames


def test_a_faulty_order_is_said_and_the_drive_goes_on_after_a_reset(world: DrivingWorld) -> None:
    session, looker = Session(world, world.reset), Looker()
    session.join(looker)
    with running(session):
        session.order(Orders(weather="hail"))
        until(lambda: any("not a word of the town" in text for text in looker.texts))
        session.order(Orders(weather="fog", reset=9))
        session.pause(False)
        until(lambda: looker.frames and looker.frames[-1].picture.moment.caption.weather == "fog")
    assert world.seed == 9


def test_a_source_that_fails_in_the_middle_is_said_and_a_reset_drives_on(
    world: DrivingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, looker = Session(world, world.reset), Looker()
    session.join(looker)
    go_on = world.source.step

    def lost(action: Action) -> Moment:
        if len(looker.frames) > 3:
            raise DwmError("the simulator at 127.0.0.1:2000 answers no more; is it there?")
        return go_on(action)

    monkeypatch.setattr(world.source, "step", lost)
    with running(session):
        until(lambda: session.paused)
        assert looker.texts == ["the simulator at 127.0.0.1:2000 answers no more; is it there?"]
        monkeypatch.setattr(world.source, "step", go_on)
        shown = len(looker.frames)
        session.order(Orders(reset=2))
        session.pause(False)
        until(lambda: len(looker.frames) > shown + 4)
    assert looker.texts[1:] == ["goes on"] and looker.frames[-1].picture.moment.time < 3


def test_a_page_shows_pictures_and_steers(world: DrivingWorld) -> None:
    async def look(server: Server) -> None:
        async with connected(server) as browser:
            hello = json.loads(await browser.recv())["hello"]
            assert hello["views"] == list(world.views) and hello["times"] == ["day"]
            await browser.send(json.dumps({"number": 3, "act": {"throttle": 1.0}}))
            facts, pictures = await next_frame(browser)
            while facts["answers"] != [hello["you"], 3]:
                facts, pictures = await next_frame(browser)
            strip = Image.open(io.BytesIO(pictures[: facts["strip"]]))
            assert strip.size == (6 * 32, len(facts["rows"]) * 16)
            assert facts["rows"] == ["views", "real", "layout"]
            assert Image.open(io.BytesIO(pictures[facts["strip"] :])).size == (256, 256)

    with served(world) as server:
        assert server.token in page_of(server)
        asyncio.run(look(server))


def test_the_page_loads_nothing_from_elsewhere(world: DrivingWorld) -> None:
    with served(world) as server, urllib.request.urlopen(server.url) as answer:
        page = answer.read().decode()
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    outside = re.findall(r"""(?:src|href)=["']?(?!data:)[^"'> ]+|url\([^)]*\)|@import|https?://(?!\$)\S+""", page)
    assert not outside


def test_foreign_pages_and_names_are_refused(world: DrivingWorld) -> None:
    async def refused(server: Server, **how) -> bool:
        try:
            async with connected(server, **how) as browser:
                await browser.recv()
        except (websockets.exceptions.InvalidStatus, websockets.exceptions.ConnectionClosed):
            return True
        return False

    with served(world) as server:
        assert asyncio.run(refused(server, origin="http://evil.example"))
        assert asyncio.run(refused(server, origin="null"))
        assert asyncio.run(refused(server, token="guessed"))
        assert asyncio.run(refused(server, additional_headers={"Host": f"evil.example:{server.port}"}, origin=None))
        assert not asyncio.run(refused(server, origin=None)), "a program with the token is no page"
        request = urllib.request.Request(server.url, headers={"Host": f"evil.example:{server.port}"})
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(request)


def test_messages_that_are_not_ours_harm_nothing(world: DrivingWorld) -> None:
    strange = [
        "no json", "[]", '{"act": 3}', '{"act": {"throttle": 99}}', '{"act": {"throttle": "x"}}', '{"number": 1e99}',
        '{"fly": true}', '{"reset": -1}', '{"reset": true}', '{"prompt": 3}', "[" * 9000, json.dumps({"prompt": "x" * 9000}),
        '{"act": {"throttle": NaN}}', b"\x00\xff",
    ]  # fmt: skip

    async def annoy(server: Server) -> None:
        async with connected(server) as browser:
            for message in strange:
                await browser.send(message)
            said = 0
            while said < len(strange):
                message = await asyncio.wait_for(browser.recv(), 40)
                said += isinstance(message, str) and "not understood" in message
            await next_frame(browser)
        async with connected(server) as browser:  # too much of it
            for _ in range(40):
                await browser.send("no json")
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                while True:
                    await asyncio.wait_for(browser.recv(), 40)
        async with connected(server) as browser:  # too long
            await browser.send("x" * 1_000_000)
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                while True:
                    await asyncio.wait_for(browser.recv(), 40)
        async with connected(server) as browser:  # a thousand of them
            for number in range(1000):
                await browser.send(json.dumps({"number": number, "act": {"steer": (number % 9) / 9}}))
            facts, _ = await next_frame(browser)
            while facts["answers"][1] < 990:
                facts, _ = await next_frame(browser)

    with served(world) as server:
        asyncio.run(annoy(server))
        assert server.session.pressed.action == Action(brake=0.3), "who held the pedals is gone"


@pytest.mark.slow
def test_a_browser_that_does_not_read_delays_nobody(world: DrivingWorld) -> None:
    async def look(server: Server) -> None:
        async with connected(server, max_queue=1) as sleeper, connected(server) as browser:
            before = world.frame
            frames = [(await next_frame(browser))[0]["frame"] for _ in range(10)]
            assert world.frame - before >= 8 and frames == sorted(set(frames))
            assert sleeper.state.name == "OPEN"

    with served(world) as server:
        asyncio.run(look(server))


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DwmError, match=rf"--port {port} on 127.0.0.1: .*; give another --port"):
            listening("127.0.0.1", port)


def test_others_than_this_machine_need_the_token(world: DrivingWorld) -> None:
    session = Session(world, world.reset)
    server = Server(session, listening("0.0.0.0", 0), "0.0.0.0", {})
    server.start()
    try:
        address = f"http://127.0.0.1:{server.port}/"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address)
        with urllib.request.urlopen(f"{address}?token={server.token}") as answer:
            assert answer.status == 200
        assert server.token in server.url
    finally:
        server.stop()
