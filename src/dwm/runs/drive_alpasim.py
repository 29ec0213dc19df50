"""The network as AlpaSim's video-model renderer: the simulator drives, what it asks for is drawn until Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable

from dwm import __version__
from dwm.checkpoints.folder import read_card
from dwm.checkpoints.locations import resolve
from dwm.errors import DwmError
from dwm.runs.drive import DriveRun, completed
from dwm.runs.generate import loaded

SENT = ("data", "scene", "start", "town", "carla", "views", "fps", "overlap", "prompt", "time", "weather", "seed")
"""Fields of a run that say what AlpaSim's sessions say themselves."""


def serve_alpasim(run: DriveRun, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serves until it is stopped. Raises DwmError where the port is taken, before weights are read."""
    from dwm.drive.alpasim.rollout import Settings
    from dwm.drive.alpasim.service import VideoModel, bound, start

    named = next((name for name in SENT if getattr(run, name) != DriveRun.model_fields[name].default), None)
    if named is not None:
        raise DwmError(f"--serve-alpasim: AlpaSim's sessions say what is driven; leave out --{named}")
    server, had = bound(host, port)
    try:
        run = completed(run, read_card(resolve(run.weights)))
        pipe = loaded(run)
        settings = Settings(run.steps, run.guidance, run.size, run.force)
        start(server, VideoModel(pipe, settings, __version__))
        say(f"AlpaSim's video-model service at {host}:{had}, {pipe.card.name or run.weights}; Ctrl-C ends it")
        if host not in ("127.0.0.1", "localhost", "::1"):
            say("it asks nobody for a password: let it be reached from machines that you trust only")
        server.wait_for_termination()
    finally:
        server.stop(0)
