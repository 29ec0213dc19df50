"""A drive in a browser: the world in the main thread, so that Ctrl-C ends it, the page in another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dwm.drive.session import Session
from dwm.errors import DwmError
from dwm.runs.drive import DriveRun, begin, opened
from dwm.runs.drive_folder import DriveFolder
from dwm.storage import check_folder
from dwm.town.world.style import TIMES, WEATHERS


def serve(
    run: DriveRun, host: str, port: int, output: Path | None, say: Callable[[str], None], send_to: str | None = None
) -> tuple[Path, ...]:
    """Drives until it is stopped; with `output`, each drive that the page records is kept there; with `send_to`, its pictures go
    to that address too. Gives what was written.

    Raises DwmError where the port is taken, before weights are read.
    """
    from dwm.drive.broadcast import Broadcast, check_address
    from dwm.drive.server import Server, listening

    if send_to is not None:
        check_address(send_to)
    if output is not None:
        check_folder(output)
    socket = listening(host, port)
    try:
        run, world = opened(run, with_real=True)
    except BaseException:
        socket.close()
        raise
    kept: list[DriveFolder] = []

    def keep() -> DriveFolder:
        if output is None:
            raise DwmError("nothing is recorded here; start dwm drive with -o FOLDER")
        number = next(n for n in range(100_000) if not (output / f"{n:03d}").exists())
        kept.append(DriveFolder(output / f"{number:03d}", run.with_(seed=world.seed), world))
        return kept[-1]

    session = Session(world, partial(begin, world, run), keep if output is not None else None)
    words = {"times": TIMES, "weathers": WEATHERS} if run.data is None else {"times": (), "weathers": ()}
    server = Server(session, socket, host, words)
    server.start()
    say(world.way)
    say(f"drive: open {server.url} in a browser; Ctrl-C ends it")
    line = None if send_to is None else Broadcast(send_to, world.source.fps, world.views, world.video.burst)
    if line is not None:
        session.join(line)
        say(f"pictures to {send_to}; programs steer at {server.program_url}")
    try:
        session.run()
    finally:
        server.stop()
        if line is not None:
            line.close()
        world.source.close()
    return tuple(path for folder in kept for path in folder.files)
