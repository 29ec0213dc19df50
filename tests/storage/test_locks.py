"""One process at a time holds a folder; who it is, is said; what a killed one left is taken over."""

import json
import os
import signal
import subprocess
import sys

import pytest

from dwm.errors import DwmError
from dwm.storage import held

HOLD = """
import sys, time
from dwm.storage import held
with held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
HOLD_AND_FORK = """
import os, sys, time
from dwm.storage import held
with held(sys.argv[1]):
    if os.fork() == 0:
        print("held", flush=True)
        time.sleep(20)
        os._exit(0)
    time.sleep(60)
"""


def holder(folder, script=HOLD) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_refused_and_told_who_holds_the_folder(tmp_path):
    first = holder(tmp_path / "run")
    try:
        refused = pytest.raises(DwmError, match=rf"run: is in use by another run \(process {first.pid} on .*, since 20")
        with refused, held(tmp_path / "run"):
            pytest.fail("two hold it")
    finally:
        first.kill()
        first.wait()


@pytest.mark.parametrize("script", [HOLD, HOLD_AND_FORK], ids=["alone", "with a child that lives on"])
def test_what_a_killed_process_left_is_taken_over(tmp_path, script):
    first = holder(tmp_path / "run", script)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / "run" / "run.lock").exists()
    with held(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / "run.lock").read_text())["process"] == os.getpid()


def test_nothing_is_left_when_it_is_let_go(tmp_path):
    with held(tmp_path / "run"):
        assert (tmp_path / "run" / "run.lock").exists()
    assert not (tmp_path / "run").exists()
    with held(tmp_path / "run"):
        (tmp_path / "run" / "config.json").write_text("{}")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_one_process_cannot_hold_a_folder_twice(tmp_path):
    with held(tmp_path), pytest.raises(DwmError, match=f"process {os.getpid()} "), held(tmp_path):
        pytest.fail("held twice")


@pytest.mark.parametrize("kind", ["link", "hard link", "words"])
def test_a_file_of_somebody_else_is_no_lock(tmp_path, kind):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "run"
    folder.mkdir()
    if kind == "link":
        (folder / "run.lock").symlink_to(victim)
    elif kind == "hard link":
        os.link(victim, folder / "run.lock")
    else:
        (folder / "run.lock").write_text("precious")
    with pytest.raises(DwmError, match=r"run\.lock"), held(folder):
        pytest.fail("held")
    assert victim.read_text() == "precious" and (folder / "run.lock").read_text() == "precious"


def test_many_that_ask_at_once_take_turns(tmp_path):
    script = """
import sys, time
from dwm.errors import DwmError
from dwm.storage import held
for _ in range(200):
    try:
        with held(sys.argv[1]):
            open(sys.argv[2], "x").close()
            time.sleep(0.002)
            __import__("os").unlink(sys.argv[2])
    except DwmError:
        time.sleep(0.001)
"""
    (tmp_path / "run").mkdir()
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "run"), str(tmp_path / "alone")])
        for _ in range(3)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
