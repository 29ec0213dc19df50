"""The page of a drive, served to this machine's browsers: pictures go out, keys and words come in, over one WebSocket each.

It listens where it was told, refuses pages of other origins, bounds what it takes in, and never waits for a slow reader.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import socket
import threading
from collections import deque
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from dwm.data import BirdseyeOptions, draw_boxes_birdseye, draw_map_birdseye
from dwm.drive.session import Frame, Orders, Session
from dwm.drive.source import Action, Moment, Source, clip_of
from dwm.drive.world import LONGEST_PROMPT, as_jpeg
from dwm.errors import DwmError

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect
except ImportError as error:
    raise DwmError(f"dwm drive's page needs {error.name}: pip install 'dwm[drive]'") from None

MOST_BYTES = 16_384
"""Of one message of a browser; a prompt of 2,000 letters is a quarter of it."""
MOST_FAULTS = 20
"""Messages that make no sense, after which a browser is sent away."""
MOST_READERS = 16
QUALITY = 88
BIRDSEYE = BirdseyeOptions(
    size=(256, 256), pixels_per_metre=3.2, pen_width=1, fill_boxes=True,
    map_colors={"drivable_area": (66, 73, 86), "lane": (104, 114, 130), "ped_crossing": (158, 164, 174)},
    box_colors={"human": (255, 120, 105), "vehicle.bicycle": (255, 186, 84), "vehicle.motorcycle": (255, 186, 84),
                "vehicle": (124, 196, 255), "movable_object": (190, 160, 120)},
)  # fmt: skip
"""A map for people: what stands on the road differs from it."""
GROUND = (26, 30, 36)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ORDERS = {"prompt": str, "time": str, "weather": str, "reset": int, "record": bool}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Server:
    """Serves `session` on a socket of `listening(host, port)`. `start` it, and `stop` it from any thread."""

    def __init__(self, session: Session, listener: socket.socket, host: str, facts: Mapping[str, Any]) -> None:
        self.session, self.host, self.facts = session, host, facts
        self.token = secrets.token_urlsafe(24)
        self.socket = listener
        self.port = self.socket.getsockname()[1]
        self.readers = 0
        routes = [Route("/", self._page), WebSocketRoute("/drive", self._drive)]
        config = uvicorn.Config(
            Starlette(routes=routes),
            log_level="error",
            ws_max_size=MOST_BYTES,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=lambda: self.server.run(sockets=[self.socket]), name="drive-page", daemon=True
        )

    @property
    def url(self) -> str:
        """What to open; it holds the token where others than this machine can reach it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/" + ("" if self.host in LOOPBACK else f"?token={self.token}")

    @property
    def program_url(self) -> str:
        """Where a program connects by WebSocket, with the token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}/drive?token={self.token}"

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=3)
        self.socket.close()

    def _is_ours(self, host: str | None) -> bool:
        """Whether a Host header names this server: a foreign name that leads here belongs to somebody else's page."""
        if host is None:
            return False
        name, _, port = host.rpartition(":")
        if self.host in LOOPBACK:
            return name.strip("[]") in LOOPBACK and port == str(self.port)
        return bool(name)

    def _may(self, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    async def _page(self, request: Request) -> Response:
        if not self._is_ours(request.headers.get("host")):
            return PlainTextResponse("this page has another name", 421)
        if self.host not in LOOPBACK and not self._may(request.query_params.get("token")):
            return PlainTextResponse("the token is missing: open the address that dwm drive said", 403)
        page = files("dwm.drive").joinpath("page.html").read_text(encoding="utf-8")
        return HTMLResponse(page.replace("TOKEN", self.token), headers=HEADERS)

    async def _drive(self, browser: WebSocket) -> None:
        host, origin = browser.headers.get("host"), browser.headers.get("origin")
        foreign = origin is not None and origin not in (f"http://{host}", f"https://{host}")
        if foreign or not self._is_ours(host) or not self._may(browser.query_params.get("token")):
            await browser.close(1008)
            return
        if self.readers >= MOST_READERS:
            await browser.close(1013)
            return
        await browser.accept()
        self.readers += 1
        reader = _Browser(asyncio.get_running_loop(), self.session)
        self.session.join(reader)
        writing = asyncio.create_task(reader.write(browser, self._hello(reader.name)))
        try:
            await self._read(browser, reader)
        except WebSocketDisconnect:
            pass
        finally:
            self.readers -= 1
            self.session.part(reader)
            self.session.leave(reader.name)
            writing.cancel()

    def _hello(self, name: str) -> dict[str, Any]:
        world = self.session.world
        return {
            "you": name,
            "views": world.views,
            "size": world.size,
            "fps": world.source.fps,
            "source": world.source.name,
            "way": world.way,
            "burst": world.video.burst,
            "seed": world.seed,
            "recording": self.session.recording is not None,
            "mayRecord": self.session.open_recording is not None,
            "paused": self.session.paused,
            **self.facts,
        }

    async def _read(self, browser: WebSocket, reader: _Browser) -> None:
        faults = 0
        while True:
            message = await browser.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                self._obey(message.get("text"), reader.name)
            except (DwmError, ValueError, TypeError, RecursionError) as error:
                faults += 1
                reader.say(f"not understood: {str(error)[:200]}")
                if faults >= MOST_FAULTS:
                    await browser.close(1008)
                    return

    def _obey(self, text: str | None, who: str) -> None:
        """Does what one message says. Raises DwmError or ValueError for what is none."""
        values = None if text is None else json.loads(text)
        if not isinstance(values, dict):
            raise DwmError("a message is one JSON object")
        number = values.pop("number", 0)
        if isinstance(number, bool) or not isinstance(number, int):
            raise DwmError("number counts messages")
        for name, value in values.items():
            if name == "act":
                if not isinstance(value, dict) or set(value) - set(Action.__dataclass_fields__):
                    raise DwmError("act holds throttle, brake, steer, reverse, autopilot")
                self.session.act(Action(**value), who, number)
            elif name == "pause" and isinstance(value, bool):
                self.session.pause(value)
            elif name == "step":
                self.session.one_step()
            elif name in ORDERS and type(value) is ORDERS[name]:
                self._order(name, value)
            else:
                raise DwmError(f"{name[:40]} is not known, or of another kind")

    def _order(self, name: str, value: Any) -> None:
        if name == "prompt" and len(value) > LONGEST_PROMPT:
            raise DwmError(f"the prompt has {len(value)} letters; {LONGEST_PROMPT} at most")
        if name == "reset" and not 0 <= value < 2**31:
            raise DwmError("a seed is a whole number below 2,147,483,648")
        self.session.order(Orders(**{name: value}))


class _Browser:
    """One page: the newest pictures that it has not seen yet, no more of them than come at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session: Session) -> None:
        self.name = secrets.token_hex(4)
        self.loop, self.session = loop, session
        self.frames: deque[Frame] = deque(maxlen=max(1, session.world.video.burst))
        self.texts: deque[str] = deque(maxlen=20)
        self.news = asyncio.Event()

    def show(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._wake()

    def say(self, text: str) -> None:
        self.texts.append(text)
        self._wake()

    def _wake(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.news.set)

    async def write(self, browser: WebSocket, hello: dict[str, Any]) -> None:
        await browser.send_text(json.dumps({"hello": hello}))
        while True:
            await self.news.wait()
            self.news.clear()
            while self.texts:
                await browser.send_text(json.dumps({"say": self.texts.popleft(), "paused": self.session.paused}))
            while self.frames:
                frame = self.frames.popleft()
                message = await asyncio.to_thread(encoded, frame, self.session.world.source)
                await browser.send_bytes(message)


def encoded(frame: Frame, source: Source) -> bytes:
    """One message: the length of a JSON text in four bytes, the text, a JPEG of all views, a JPEG of the map from above.

    The views stand side by side; below them, where there is one, what is really there, and then the layout.
    """
    picture, moment = frame.picture, frame.picture.moment
    rows = {"views": picture.views, "real": picture.real, "layout": picture.layout}
    known = {name: np.concatenate(list(row), 1) for name, row in rows.items() if row is not None}
    strip = as_jpeg(np.concatenate(list(known.values())), QUALITY)
    above = as_jpeg(birdseye(moment, source), 80)
    facts = {
        "frame": picture.frame,
        "rows": list(known),
        "strip": len(strip),
        "time": moment.time,
        "speed": moment.speed,
        "steering": moment.steering,
        "travelled": moment.travelled,
        "crash": bool(moment.crash),
        "offRoad": moment.off_road,
        "autopilot": moment.autopilot,
        "caption": moment.caption.text(),
        "timeOfDay": moment.caption.time,
        "weather": moment.caption.weather,
        "rate": frame.rate,
        "latency": frame.latency,
        "answers": frame.answers,
        "recording": frame.recording,
    }
    head = json.dumps(facts).encode()
    return len(head).to_bytes(4, "little") + head + strip + above


def birdseye(moment: Moment, source: Source) -> np.ndarray:
    """The map and the boxes from above, ahead is up; the car is in the middle."""
    clip = clip_of([moment], source)
    picture = np.broadcast_to(np.array(GROUND, np.uint8), (*reversed(BIRDSEYE.size), 3))
    for drawn in (draw_map_birdseye(clip, 0, BIRDSEYE), draw_boxes_birdseye(clip, 0, BIRDSEYE)):
        picture = np.where(drawn.any(-1, keepdims=True), drawn, picture)
    return np.ascontiguousarray(np.rot90(picture))


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens, so that a port which is taken is found before the weights are read."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise DwmError(
            f"--port {port} on {host}: {error.strerror or error}; give another --port, or 0 for any"
        ) from None
    return listener
