"""Every published training run on nuScenes alone takes steps on the port's folder, with nothing but sizes changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from port_tree import ON_NUSCENES, PORT, PortTree

from dwm.opendwm.commands.training import Flags, train_config

PICTURES = (128, 64)
"""The smallest that the published U-Net halves three times."""
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("config", [name for name in ON_NUSCENES if name != PORT], ids=lambda name: Path(name).stem)
def test_a_published_config_trains_on_the_ports_folder(config: str, port_tree: PortTree) -> None:
    small, output = port_tree.small(config, PICTURES), port_tree.folder / "output" / Path(config).stem
    train_config(small, output, Flags(steps=2, log_steps=1, preview_steps=1000), port_tree.folder)
    log = [json.loads(line) for line in (output / "driving" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2] and all(entry["loss"] > 0 for entry in log)
    assert (output / "weights" / "dwm.json").is_file()
