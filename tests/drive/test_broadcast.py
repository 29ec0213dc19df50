"""A drive's pictures to a media server: a real RTSP listener of FFmpeg takes them; a line that breaks stops nobody."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import av
import numpy as np
import pytest

from dwm.drive import Picture, town_source
from dwm.drive.broadcast import Broadcast, check_address
from dwm.errors import DwmError

VIEWS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT")


def picture(frame: int) -> Picture:
    source = town_source(7, 1)
    views = np.full((3, 48, 80, 3), 40 + 20 * (frame % 8), np.uint8)
    return Picture(frame=frame, moment=source.reset(0), rig=source.rig, prompt=None, views=views)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listening(port: int, got: list[np.ndarray], faults: list[str]) -> Callable[[], None]:
    def run() -> None:
        options = {"rtsp_flags": "listen", "listen_timeout": "60"}
        try:
            with av.open(f"rtsp://127.0.0.1:{port}/live", options=options) as container:
                for frame in container.decode(video=0):
                    got.append(frame.to_ndarray(format="rgb24"))
        except av.FFmpegError as error:
            faults.append(str(error))

    return run


def connected(url: str) -> Broadcast:
    """A line over which a picture went, as soon as somebody listens: nothing tells when a listener of FFmpeg does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        line = Broadcast(url, 10.0, VIEWS, burst=8)
        line.send(picture(0))
        while line.fault is None and not line.sent and time.monotonic() < deadline:
            time.sleep(0.05)
        if line.sent:
            return line
        time.sleep(0.2)
    raise AssertionError(f"nobody listens at {url}")


def test_an_rtsp_server_gets_the_pictures() -> None:
    port, got, faults = free_port(), list[np.ndarray](), list[str]()
    server = threading.Thread(target=listening(port, got, faults), daemon=True)
    server.start()
    line = connected(f"rtsp://127.0.0.1:{port}/live")
    for _ in range(30):
        line.send(picture(0))
        time.sleep(0.05)
    line.close()
    server.join(30)
    assert line.sent > 5 and len(got) > 3, faults
    height, width, _ = got[-1].shape
    assert width > 3 * height, "three views side by side"
    assert abs(float(got[-1][height // 2, width // 2].mean()) - 40) < 6


def test_a_line_that_is_not_there_is_said_and_delays_nobody() -> None:
    line = Broadcast(f"rtsp://127.0.0.1:{free_port()}/live", 10.0, VIEWS)
    started = time.monotonic()
    line.send(picture(0))
    assert time.monotonic() - started < 5
    line.thread.join(60)
    with pytest.raises(DwmError, match="is a server there that takes streams"):
        line.send(picture(1))
    with pytest.raises(DwmError, match="is a server there"):
        line.close()


@pytest.mark.parametrize("url", ["http://a/b", "file:///etc/passwd", "out.mp4", "rtsp://", "/dev/null"])
def test_only_addresses_of_streams_are_taken(url: str) -> None:
    with pytest.raises(DwmError, match="pictures are sent to rtsp://"):
        check_address(url)
