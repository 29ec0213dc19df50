"""What a launcher left in the environment, and peers that do not come: one line in bounded time, never a trace."""

import os
import re
import socket
import subprocess
import sys

import pytest

from dwm.errors import DwmError
from dwm.training.parallel.meeting import Meeting, check_port, free_port

FULL = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
MEET = "from dwm.cli.main import outcome; from dwm.training.parallel.ranks import group; import sys\n"
MEET += "def work():\n    with group('cpu'): print('met')\nsys.exit(outcome(work))"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"MASTER_ADDR": None}, "RANK and WORLD_SIZE are set here, MASTER_ADDR not"),
        ({"MASTER_ADDR": "", "MASTER_PORT": None}, "MASTER_ADDR and MASTER_PORT not"),
        ({"RANK": "2"}, "RANK=2, but WORLD_SIZE=2: ranks count from 0 to 1"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two: expected a whole number"),
        ({"RANK": "-1"}, "RANK=-1: expected a whole number"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000: expected a port"),
    ],
)
def test_a_wrong_environment_is_one_line(change: dict[str, str | None], sentence: str):
    environment = {name: value for name, value in {**FULL, **change}.items() if value is not None}
    with pytest.raises(DwmError, match=re.escape(sentence)):
        Meeting.of(environment)


def test_a_busy_port_is_named_with_a_free_one():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DwmError, match=rf"MASTER_PORT={port}: is in use.*such as MASTER_PORT=\d+"):
            check_port(port)
    check_port(free_port())


def meet(**change: str) -> subprocess.Popen:
    environment = {**os.environ, **FULL, "OMP_NUM_THREADS": "1", **change}
    command = [sys.executable, "-c", MEET]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_peers_that_never_come_end_a_process_in_one_line(rank: str):
    port = str(free_port())
    out, err = meet(RANK=rank, MASTER_PORT=port, DWM_PEERS_WAIT="2").communicate(timeout=60)
    last = err.splitlines()[-1]
    assert out == "" and last.startswith(f"dwm: 2 processes were to meet at 127.0.0.1:{port}, and did not within 2 s")
    assert "Traceback" not in err and "frame #" not in err


@pytest.mark.slow
def test_processes_without_torchrun_meet_whichever_comes_first():
    port = str(free_port())
    processes = [meet(RANK=rank, MASTER_PORT=port) for rank in ("1", "0")]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [out for out, _ in answers] == ["met\n", "met\n"], answers
