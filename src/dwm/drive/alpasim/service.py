"""The gRPC server of AlpaSim's video-model service: sessions by their ids, bounds, and what is wrong as a status of its own."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn

from dwm.drive.alpasim.rollout import JPEG, Rollout, Settings
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline

try:
    import grpc

    from dwm.drive.alpasim import video_model_pb2
except ImportError as error:
    raise DwmError(f"serving AlpaSim needs {error.name}: pip install 'dwm[alpasim]'") from None

messages: Any = video_model_pb2
"""Its classes are made when it is imported."""
SERVICE = "omnidreams.video_model.WorldModelService"
MOST_BYTES = 64 << 20
"""Of one message, which is what AlpaSim's runtime allows."""
MOST_SESSIONS = 4
IDLE = 600.0
"""Seconds after which a session that nobody asks makes room for another."""
THREADS = 4


@dataclass
class _Open:
    rollout: Rollout
    asked: float
    turn: threading.Lock = field(default_factory=threading.Lock)


class VideoModel:
    """The four calls. Sessions may come side by side; the network draws for one at a time."""

    def __init__(self, pipe: DrivingPipeline, settings: Settings, version: str) -> None:
        """`version`: of dwm."""
        self.pipe, self.settings, self.version = pipe, settings, version
        self.sessions: dict[str, _Open] = {}
        self.changing, self.drawing = threading.Lock(), threading.Lock()

    def get_version(self, request: Any, context: grpc.ServicerContext) -> Any:
        return messages.Version(version_id=f"dwm {self.version}, {self.pipe.card.name or 'weights without a name'}")

    def start_session(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._make_room(context)
        try:
            rollout = Rollout(self.pipe, request, self.settings)
        except DwmError as error:
            _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        name = secrets.token_hex(16)
        with self.changing:
            self.sessions[name] = _Open(rollout, time.monotonic())
        return messages.SessionId(session_id=name)

    def render_video_chunk(self, request: Any, context: grpc.ServicerContext) -> Any:
        session = self._session(request.session_id.session_id, context)
        with session.turn, self.drawing:
            try:
                cameras = session.rollout.chunk(request)
            except DwmError as error:
                _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
            session.asked = time.monotonic()
        outputs = [
            messages.CameraPictures(
                camera_logical_id=name,
                rgb_frames=[messages.Picture(data=data, format=JPEG) for data in pictures],
                hdmap_condition_frames=[messages.Picture(data=data, format=JPEG) for data in layouts],
            )
            for name, pictures, layouts in cameras
        ]
        answer = messages.Chunk(camera_outputs=outputs)
        if (size := answer.ByteSize()) > MOST_BYTES:
            text = f"the chunk's pictures take {size:,} bytes, {MOST_BYTES:,} at most: ask for fewer frames or smaller ones"
            _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        return answer

    def close_session(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._session(request.session_id, context)
        with self.changing:
            self.sessions.pop(request.session_id, None)
        return messages.Empty()

    def _session(self, name: str, context: grpc.ServicerContext) -> _Open:
        with self.changing:
            session = self.sessions.get(name)
            if session is not None:
                session.asked = time.monotonic()
        if session is None:
            _refuse(context, grpc.StatusCode.NOT_FOUND, f"session {name[:60]!r} is not open; start one")
        return session

    def _make_room(self, context: grpc.ServicerContext) -> None:
        with self.changing:
            idle = [name for name, one in self.sessions.items() if time.monotonic() - one.asked > IDLE]
            for name in idle if len(self.sessions) >= MOST_SESSIONS else ():
                del self.sessions[name]
            full = len(self.sessions) >= MOST_SESSIONS
        if full:
            text = f"{MOST_SESSIONS} sessions are open; close one"
            _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, text)


def _refuse(context: grpc.ServicerContext, status: grpc.StatusCode, text: str) -> NoReturn:
    context.abort(status, text)
    raise AssertionError("abort raises")


def bound(host: str, port: int) -> tuple[grpc.Server, int]:
    """A server that has its port (0: any) but answers nobody yet, and the port. Raises DwmError where that is taken."""
    options = [
        ("grpc.max_receive_message_length", MOST_BYTES), ("grpc.max_send_message_length", MOST_BYTES), ("grpc.so_reuseport", 0),
    ]  # fmt: skip
    server = grpc.server(ThreadPoolExecutor(THREADS), options=options, maximum_concurrent_rpcs=2 * THREADS)
    try:
        had = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError:
        had = 0
    if not had:
        raise DwmError(f"--port {port} on {host}: is taken or not to be had; give another --port, or 0 for any")
    return server, had


def start(server: grpc.Server, model: VideoModel) -> None:
    """Answers from now on."""
    calls: dict[str, tuple[Callable[..., Any], Any]] = {
        "get_version": (model.get_version, messages.Empty),
        "start_session": (model.start_session, messages.SessionRequest),
        "render_video_chunk": (model.render_video_chunk, messages.ChunkRequest),
        "close_session": (model.close_session, messages.CloseRequest),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(call, kind.FromString, lambda answer: answer.SerializeToString())
        for name, (call, kind) in calls.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.start()
