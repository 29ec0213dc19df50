"""Every published training run on nuScenes alone takes steps on the port's folder, with nothing but sizes changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from port_tree import ON_NUSCENES, OPENDV, PORT, PortTree, add_opendv

from dwm.opendwm.commands.training import Flags, train_config
from dwm.opendwm.runs import load_recipe
from dwm.runs.clips import training_readers
from dwm.runs.encode import encode_run

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


@pytest.mark.filterwarnings("ignore:.*izhGt1GnGFk, which is to be left out, is not there")
def test_the_published_opendv_config_trains_and_its_latents_can_be_stored(
    port_tree: PortTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_opendv(port_tree.shared, tmp_path)
    (port_tree.folder / "data" / "opendv").symlink_to(tmp_path / "data" / "opendv")
    small, output = port_tree.small(OPENDV, PICTURES), tmp_path / "output"
    train_config(small, output, Flags(steps=2, log_steps=1, preview_steps=1000), port_tree.folder)
    log = [json.loads(line) for line in (output / "driving" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2] and all(entry["loss"] > 0 for entry in log)
    run = load_recipe(small, port_tree.folder)
    encoded = encode_run(run.with_(data=run.data.with_(store=str(tmp_path / "store"), stored_text=False)))
    (reader,) = training_readers(run.data)
    keys = {tuple(key) for clip in range(len(reader)) for key in reader.material(clip).keys.reshape(-1, 2).tolist()}
    assert encoded.latents == len(keys) > 300  # a film of a varying rate shows some pictures twice
