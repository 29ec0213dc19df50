"""A drive's pictures to a media server or player, as it goes on: RTSP, RTMP, SRT or plain MPEG-TS. Actions do not come this way.

A thread of its own encodes and sends: a slow line misses pictures and delays nobody.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from fractions import Fraction

import av
import numpy as np
from jaxtyping import UInt8

from dwm.drive.session import Frame
from dwm.drive.world import Picture, mosaic
from dwm.errors import DwmError
from dwm.screen import say

FORMATS = {"rtsp": "rtsp", "rtmp": "flv", "srt": "mpegts", "udp": "mpegts", "tcp": "mpegts"}
"""What is spoken at an address that begins so."""
ENCODERS = (
    ("libx264", {"preset": "veryfast", "tune": "zerolatency", "crf": "20"}),
    ("libopenh264", {"b": "4M"}),
    ("mpeg4", {"qscale": "3"}),
)
CLOCK = 90_000
"""Ticks a second of the times that pictures are sent with."""
PATIENCE = 10.0
"""Seconds that a server has to answer."""


def check_address(url: str) -> str:
    """The same address. Raises DwmError for a kind that is not known."""
    kind, mark, rest = url.partition("://")
    if not mark or not rest or kind not in FORMATS:
        kinds = ", ".join(f"{name}://" for name in FORMATS)
        raise DwmError(f"--to {url}: pictures are sent to {kinds}; for a file give -o FOLDER")
    return url


class Broadcast:
    """Sends all views side by side to `url`. A `Reader` of a session, too."""

    def __init__(self, url: str, fps: float, views: tuple[str, ...], burst: int = 1) -> None:
        """burst: pictures that may wait, which is as many as come at once."""
        self.url, self.fps, self.views = check_address(url), fps, views
        self.waiting: deque[Picture] = deque(maxlen=max(1, burst))
        self.news, self.closed = threading.Condition(), False
        self.fault: str | None = None
        self.sent = 0
        self.thread = threading.Thread(target=self._run, name="broadcast", daemon=True)
        self.thread.start()

    def send(self, picture: Picture) -> None:
        """Raises DwmError where the line is broken."""
        if self.fault is not None:
            raise DwmError(self.fault)
        with self.news:
            self.waiting.append(picture)
            self.news.notify()

    def show(self, frame: Frame) -> None:
        """The same in a session, which goes on where the line is broken: that is said once."""
        if self.fault is None:
            self.send(frame.picture)

    def say(self, text: str) -> None:
        """Words are not sent."""

    def close(self) -> None:
        """Sends what waits, as far as there is time. Raises DwmError where nothing could be sent at all."""
        with self.news:
            self.closed = True
            self.news.notify()
        self.thread.join(PATIENCE + 1)
        if self.fault is not None and not self.sent:
            raise DwmError(self.fault)

    def _next(self) -> UInt8[np.ndarray, "h w 3"] | None:
        with self.news:
            self.news.wait_for(lambda: self.waiting or self.closed)
            picture = self.waiting.popleft() if self.waiting else None
        return None if picture is None else mosaic(picture.views, self.views)

    def _run(self) -> None:
        try:
            if (first := self._next()) is not None:
                self._send_all(first)
        except (av.FFmpegError, OSError) as error:
            self.fault = f"--to {self.url}: {error.strerror or error}; is a server there that takes streams?"
            say(self.fault)

    def _send_all(self, picture: UInt8[np.ndarray, "h w 3"] | None) -> None:
        kind = self.url.partition("://")[0]
        options = {"rtsp_transport": "tcp"} if kind == "rtsp" else {}
        with av.open(self.url, "w", format=FORMATS[kind], options=options, timeout=PATIENCE) as container:
            name, settings = next((name, dict(options)) for name, options in ENCODERS if name in av.codecs_available)
            stream = container.add_stream(name, rate=Fraction(self.fps).limit_denominator(1001), options=settings)
            assert picture is not None
            height, width = (side - side % 2 for side in picture.shape[:2])
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            # A player that comes later, or lost something, sees a picture within a second or two.
            stream.codec_context.gop_size = max(1, round(self.fps))
            stream.codec_context.max_b_frames = 0
            stream.codec_context.time_base = Fraction(1, CLOCK)
            begun, last = time.monotonic(), -1
            while picture is not None:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
                # The time at which it was drawn, not its number: a slow network makes a slow film, never a late one.
                last = max(last + 1, round((time.monotonic() - begun) * CLOCK))
                frame.pts, frame.time_base = last, Fraction(1, CLOCK)
                for packet in stream.encode(frame):
                    container.mux(packet)
                self.sent += 1
                picture = self._next()
            with contextlib.suppress(av.FFmpegError):
                for packet in stream.encode():
                    container.mux(packet)
