"""Ctrl-C on real processes: the end comes at once, says what is kept and how to go on, and leaves nothing half-made."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENT = 60.0
"""Seconds that a crowded machine may take to come so far; not the promise."""

BLOCKED = """
import hashlib, threading
from dwm.cli import interrupt
interrupt.watch()
interrupt.keep("a little is kept; go on with: dwm more")
threading.Timer(0.5, print, ("ready",), {{"flush": True}}).start()  # from beside: the work has begun by then
{work}
"""


def interrupted(process: subprocess.Popen[str], wait_for: Callable[[], bool]) -> tuple[float, int, str]:
    """(seconds to the end, exit status, stderr) after one Ctrl-C, sent as soon as `wait_for` holds."""
    deadline = time.monotonic() + PATIENT
    while not wait_for() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENT)
    return time.monotonic() - started, process.returncode, said


def start(*command: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)


def test_even_a_run_that_is_held_up_in_one_call_ends_and_says_what_is_kept() -> None:
    # Whether Ctrl-C comes before, in or between the calls: this run does not go by itself.
    work = "while True:\n  try: hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)\n  except KeyboardInterrupt: pass"
    with start(sys.executable, "-c", BLOCKED.format(work=work)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds, status, said = interrupted(process, lambda: True)
    assert status == 130 and said.strip() == "dwm: interrupted; a little is kept; go on with: dwm more"
    assert seconds < 10


def test_a_stop_in_the_middle_of_an_import_that_cannot_bear_it_waits_for_its_end() -> None:
    pytest.importorskip("panda3d")
    work = """
import signal, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("panda3d"):
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Stop())
from dwm.town.drawing import panda
try:
    panda.NodePath
except KeyboardInterrupt:
    print("panda3d.core" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, timeout=PATIENT)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.slow
def test_a_town_that_is_stopped_leaves_no_half_data_set(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "dwm.cli.main", "town", "-o", "data", "--scenes", "8")
    with start(*command, cwd=tmp_path) as process:
        seconds, status, said = interrupted(process, lambda: any(tmp_path.iterdir()))
    assert status == 130 and "run the command again" in said and seconds < 10
    assert not (tmp_path / "data").exists()


def test_ctrl_c_while_the_command_is_imported_is_one_line() -> None:
    begun = (
        "import sys\nfrom dwm.cli import start\n"
        "class Slow:\n"  # stands before all finders, so that the command's first own import takes as long as it is asked to
        "    def find_spec(self, name, *_):\n"
        "        if name == 'dwm.cli.main':\n"
        "            print('ready', flush=True)\n"
        "            import time; time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\nstart.run()"
    )
    with start(sys.executable, "-c", begun) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _, status, said = interrupted(process, lambda: True)
    assert status == 130 and said == "dwm: interrupted; nothing was written\n"


def test_a_library_that_turns_ctrl_c_into_its_own_error_is_no_fault() -> None:
    work = (
        "def verb():\n"
        "    try: time.sleep(60)\n"
        "    except KeyboardInterrupt: raise ImportError('half imported')\n"
        "sys.exit(outcome(verb))"
    )
    with start(
        sys.executable, "-c", "import sys, time\nfrom dwm.cli.main import outcome" + BLOCKED.format(work=work)
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _, status, said = interrupted(process, lambda: True)
    assert status == 130 and "Traceback" not in said


def test_asked_twice_it_ends_at_once() -> None:
    work = "import time\nwhile True:\n  try: time.sleep(0.1)\n  except KeyboardInterrupt: print('once', flush=True)"
    with start(sys.executable, "-c", BLOCKED.format(work=work)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline().strip() == "once"
        _, status, said = interrupted(process, lambda: True)
    assert status == 130 and said == "dwm: interrupted; a little is kept; go on with: dwm more\n"
