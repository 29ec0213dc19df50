"""Published weights fit: every parameter name and shape of OpenDWM's transformers, on the meta device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dwm.networks import CrossviewTemporalDiT
from dwm.opendwm.networks import DIT, dit_options


@pytest.fixture(scope="module")
def maps(shared: Path) -> dict:
    return json.loads((shared / "reference" / "state_dict_shapes.json").read_text())


def find_models(node: object, name: str) -> list[dict]:
    """All sections of a config whose `_class_name` is `name`."""
    if isinstance(node, list):
        return [found for item in node for found in find_models(item, name)]
    if not isinstance(node, dict):
        return []
    here = [node] if node.get("_class_name") == name else []
    return here + [found for item in node.values() for found in find_models(item, name)]


def test_every_transformer_has_the_published_keys(shared: Path, maps: dict) -> None:
    transformers = {name: entry for name, entry in maps["models"].items() if entry["class"] == DIT}
    assert len(transformers) >= 10
    for name, entry in transformers.items():
        config = json.loads((shared / "reference" / entry["first_config"]).read_text())
        (section,) = find_models(config, DIT)
        with torch.device("meta"):
            net = CrossviewTemporalDiT(dit_options(section, name))
        found = {key: list(value.shape) for key, value in net.state_dict().items()}
        assert found == entry["keys"], name
