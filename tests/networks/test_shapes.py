"""Published weights fit: every parameter name and shape of OpenDWM's transformers, on the meta device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dwm.networks import CrossviewTemporalDiT, CrossviewTemporalUNet
from dwm.opendwm.config.networks import DIT, UNET, dit_options, unet_options


@pytest.fixture(scope="module")
def maps(shared: Path) -> dict:
    return json.loads((shared / "reference" / "state_dict_shapes.json").read_text())


def find_models(node: object, name: str) -> list[dict]:
    """All sections of a config whose `_class_name` is `name`."""
    if isinstance(node, list):
        return [found for item in node for found in find_models(item, name)]
    if not isinstance(node, dict):
        return []
    models = [node] if node.get("_class_name") == name else []
    return models + [found for item in node.values() for found in find_models(item, name)]


@pytest.mark.parametrize(
    ("kind", "network", "translate", "count"),
    [(DIT, CrossviewTemporalDiT, dit_options, 10), (UNET, CrossviewTemporalUNet, unet_options, 5)],
)
def test_every_network_has_the_published_keys(
    shared: Path, maps: dict, kind: str, network: type, translate: Callable, count: int
) -> None:
    published = {name: entry for name, entry in maps["models"].items() if entry["class"] == kind}
    assert len(published) >= count
    for name, entry in published.items():
        config = json.loads((shared / "reference" / entry["first_config"]).read_text())
        (section,) = find_models(config, kind)
        with torch.device("meta"):
            net = network(translate(section, name))
        found = {key: list(value.shape) for key, value in net.state_dict().items()}
        assert found == entry["keys"], name
