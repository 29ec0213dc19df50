"""Published weights at their real sizes: files that hold every name and shape, but no numbers, load strictly."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from dwm.checkpoints.published import load_published
from dwm.config.files import read_json
from dwm.errors import DwmError
from dwm.networks import DiTOptions, UNetOptions
from dwm.opendwm.config.networks import DIT, UNET, dit_options, unet_options
from dwm.opendwm.known_weights import KNOWN, known_run
from dwm.opendwm.runs import load_recipe


def models(shared: Path) -> dict[str, dict[str, Any]]:
    found = read_json(shared / "reference" / "state_dict_shapes.json")["models"]
    return {name: model for name, model in found.items() if model["class"] in (DIT, UNET)}


def options_of(shared: Path, model: dict[str, Any]) -> DiTOptions | UNetOptions:
    """The network section of the model's config, wherever it stands."""

    def find(values: Any) -> Any:
        if isinstance(values, dict):
            if values.get("_class_name") == model["class"]:
                return values
            return next((found for value in values.values() if (found := find(value))), None)
        return None

    section = find(read_json(shared / "reference" / model["first_config"]))
    return (dit_options if model["class"] == DIT else unet_options)(section)


def write_pth(path: Path, shapes: dict[str, list[int]]) -> None:
    """Each tensor is one number seen many times."""
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, path)


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """A header, and a hole in the file for the numbers."""
    header, end = {}, 0
    for key, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def check_loading(shared: Path, path: Path, model: dict[str, Any]) -> None:
    net, report = load_published(options_of(shared, model), path)
    assert report.loaded == len(model["keys"]) and not report.new
    assert sum(value.numel() for value in net.state_dict().values()) >= model["parameters"]
    path.unlink()


def test_every_published_network_loads_strictly(shared: Path, tmp_path: Path) -> None:
    found = models(shared)
    assert len(found) >= 15
    for name, model in found.items():
        write_pth(tmp_path / f"{name}.pth", model["keys"])
        check_loading(shared, tmp_path / f"{name}.pth", model)


def test_the_smallest_of_each_kind_loads_from_safetensors(shared: Path, tmp_path: Path) -> None:
    """Only these: the system reads a hole of gigabytes as it reads a file."""
    for kind in (DIT, UNET):
        model = min((m for m in models(shared).values() if m["class"] == kind), key=lambda m: m["parameters"])
        write_safetensors(tmp_path / "x.safetensors", model["keys"])
        check_loading(shared, tmp_path / "x.safetensors", model)


def test_a_missing_and_a_surplus_key_are_named(shared: Path, tmp_path: Path) -> None:
    model = models(shared)["dit_3"]
    shapes = dict(model["keys"])
    first = next(iter(shapes))
    shapes["surplus.weight"] = shapes.pop(first)
    write_pth(tmp_path / "x.pth", shapes)
    with pytest.raises(DwmError, match=f"2 keys differ from the config: missing {first}; unexpected surplus.weight"):
        load_published(options_of(shared, model), tmp_path / "x.pth")


def test_names_of_published_weights_stand_for_their_configs(shared: Path) -> None:
    for path in sorted((shared / "reference" / "configs").rglob("ctsd*.json")):
        told, known = load_recipe(path), known_run(path.with_name(f"{path.stem}_20k.pth"))
        assert known.network == told.network and known.conditions == told.conditions, path.name
        assert known.preview.window == told.preview.window
        if "streaming" not in path.stem:
            assert known.sampling == told.sampling, path.name
    with pytest.raises(DwmError, match="which network is it of") as caught:
        known_run(Path("checkpoints/30000.pth"))
    assert all(name in str(caught.value) for name in KNOWN)
