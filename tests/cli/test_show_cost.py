"""`dwm show cost`: a training step on many devices, on paper."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dwm.cli.main import app, outcome
from dwm.config import resolve
from dwm.config.scale import Machine, Scale, scales, sent_by_one
from dwm.errors import DwmError

PARAMETERS = 1000


def within(*arguments: str) -> int:
    return outcome(lambda: app(args=list(arguments), prog_name="dwm", standalone_mode=False))


def test_one_device_sends_nothing_and_copies_average_whole_gradients() -> None:
    assert sent_by_one(PARAMETERS, 1, 1, 2) == 0
    assert sent_by_one(PARAMETERS, 2, 1, 2) == 4 * PARAMETERS
    assert sent_by_one(PARAMETERS, 4, 1, 2) == 6 * PARAMETERS


def test_shards_gather_weights_twice_and_scatter_gradients() -> None:
    assert sent_by_one(PARAMETERS, 1, 4, 2) == 0.75 * PARAMETERS * (2 * 2 + 4)
    assert sent_by_one(PARAMETERS, 2, 4, 2) == 0.75 * PARAMETERS * 8 + 4 * PARAMETERS / 4


@pytest.mark.slow
def test_the_command_tells_a_line_for_each_number_of_devices(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ("training.accumulate=4", "training.parallel.mode=fsdp", "training.parallel.mesh=[2,2]")
    assert within("show", "cost", "sd35-crossview-nuscenes-tiny", *overrides, "--devices", "2,4,16", "--json") == 0
    two, four, many = json.loads(capsys.readouterr().out)["devices"]
    assert (two["copies"], two["shards"], four["copies"], many["copies"]) == (1, 2, 2, 8)
    assert two["compute"] == 2 * four["compute"] == 2 * many["compute"]
    assert (two["accumulate"], four["accumulate"], many["accumulate"]) == (None, None, 16)
    assert two["memory"] == four["memory"] and many["pictures"] > four["pictures"]


def test_where_a_run_stops_scaling_is_said() -> None:
    fast = Scale(8, 8, 1, 8, 1.0, 10**9, 0.5, 57_600.0, 32.0, 1e6, 10**10)
    slow = replace(fast, sending=1.5)
    assert fast.share > 0.5 > slow.share
    assert "no longer scales" in slow.line() and "no longer scales" not in fast.line()


def test_a_mesh_that_does_not_divide_is_refused() -> None:
    run = resolve("town-smoke", overrides=["training.parallel.mode=fsdp", "training.parallel.mesh=[1,2]"])
    with pytest.raises(DwmError, match="--devices 3: is not a multiple of the mesh's 2 shards"):
        scales(run, [3], Machine())


@pytest.mark.parametrize("text", ["", "8,x", "0", "-1", "8,,9", "99999999"])
def test_what_is_no_list_of_devices_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert within("show", "cost", "sd35-crossview-nuscenes-tiny", f"--devices={text}") == 1
    assert "is no list of numbers; give for example --devices 8,64,1024" in capsys.readouterr().err
