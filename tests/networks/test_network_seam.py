"""A network that the package does not know is plugged in from outside: built, counted, written and read like those of the table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from dwm.checkpoints import WeightsCard
from dwm.checkpoints.folder import load_network, write_folder
from dwm.checkpoints.published import load_base, load_published
from dwm.checkpoints.tensor_files import write_tensors
from dwm.errors import DwmError
from dwm.networks import Conditions, DiTOptions, DrivingNetwork, NetworkOptions
from dwm.networks.cost import REST, Shape, operations, parameters, training_cost
from dwm.networks.kinds import NetworkKind, added, kind_of, kind_of_values

LEAD = 3
"""Axes of clips, frames and views before a latent's own."""


class RibbonOptions(NetworkOptions):
    """A network of pointwise layers with one vector of text."""

    in_channels: int = Field(4, description="channels of a latent")
    ribbon_width: int = Field(16, description="channels inside")
    text_width: int = Field(8, description="width of a text token")
    depth: int = Field(2, description="blocks")

    @property
    def perspective(self) -> str:
        return ""


@dataclass(frozen=True)
class Prepared:
    """What stays the same over the steps."""

    text: Tensor


class Ribbon(nn.Module):
    """Mixes channels in each place and adds the text's mean."""

    parts: ClassVar[Mapping[str, str]] = {"words": "text"}

    def __init__(self, options: RibbonOptions):
        super().__init__()
        self.options = options
        self.agreed: Callable[[bool], bool] = bool
        self.enter = nn.Linear(options.in_channels, options.ribbon_width)
        self.words = nn.Linear(options.text_width, options.ribbon_width)
        self.inner = nn.ModuleList(nn.Linear(options.ribbon_width, options.ribbon_width) for _ in range(options.depth))
        self.leave = nn.Linear(options.ribbon_width, options.in_channels)

    @property
    def dtype(self) -> torch.dtype:
        return self.enter.weight.dtype

    def prepare(self, conditions: Conditions, latent_shape: tuple[int, ...]) -> Prepared:
        assert conditions.text is not None
        return Prepared(self.words(conditions.text.mean(LEAD)))

    def forward(self, sample: Tensor, timestep: Tensor, prepared: Prepared) -> Tensor:
        hidden = self.enter(sample.movedim(LEAD, -1)) + prepared.text[..., None, None, :]
        for block in self.inner:
            hidden = hidden + block(hidden).relu()
        return self.leave(hidden).movedim(-1, LEAD)

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.inner)

    def tokens(self, latent_shape: tuple[int, ...]) -> int:
        return latent_shape[-1] * latent_shape[-2]

    def enable_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Too small to be worth it."""

    def blank_conditions(self, latent_shape: tuple[int, ...], text: int, layout: tuple[int, int]) -> Conditions:
        device = self.enter.weight.device
        return Conditions(text=torch.empty(*latent_shape[:LEAD], text, self.options.text_width, device=device))

    def with_every_block(self, prepared: Prepared, latent_shape: tuple[int, ...]) -> Prepared:
        return prepared


RIBBON = NetworkKind(
    "Ribbon",
    RibbonOptions,
    lambda: Ribbon,
    new=re.compile(r"^words\."),
    from_base=lambda state: {key.replace("input.", "enter."): value for key, value in state.items()},
)


@pytest.fixture(autouse=True)
def _ribbon() -> Iterator[None]:
    with added(RIBBON):
        yield


@pytest.fixture
def network() -> Ribbon:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kind_of(RibbonOptions()).network()(RibbonOptions())


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_is_a_driving_network(network: Ribbon) -> None:
    assert isinstance(network, DrivingNetwork)


def test_plain_options_tell_which_network_they_mean() -> None:
    assert kind_of_values({"ribbon_width": 4}) is RIBBON
    assert kind_of_values({"in_channels": 16}) is kind_of(DiTOptions())


def test_it_is_counted(network: Ribbon) -> None:
    options, shape = network.options, Shape(1, 2, 3, 4, 5, text=7)
    counts = parameters(options)
    assert counts["text"] == 8 * 16 + 16
    assert counts["text"] + counts[REST] == sum(parameter.numel() for parameter in network.parameters())
    places = 2 * 3 * 4 * 5
    forward = 2 * (places * (4 * 16 + 2 * 16 * 16 + 16 * 4) + 2 * 3 * 8 * 16)
    assert 2 * forward < operations(options, shape) <= 3 * forward  # no gradient flows into latents and text
    assert training_cost(options, shape).weights == 4 * sum(counts.values())


def test_without_numbers_its_code_is_still_imported_where_there_are_some() -> None:
    """PyTorch 2.6 computes while it imports its compiler, which the libraries of our networks ask for."""
    devices = []

    def network() -> type:
        devices.append(torch.empty(()).device.type)
        return Ribbon

    empty = replace(RIBBON, network=network).without_numbers(RibbonOptions())
    assert devices == ["cpu"] and {parameter.device.type for parameter in empty.parameters()} == {"meta"}


def test_a_weights_folder_holds_it(tmp_path: Path, network: Ribbon) -> None:
    write_folder(tmp_path / "weights", WeightsCard(name="ribbon"), network, None, torch.float32)
    config = json.loads((tmp_path / "weights" / "transformer" / "config.json").read_text())
    assert config["_class_name"] == "Ribbon"
    loaded = load_network(tmp_path / "weights")
    assert isinstance(loaded, Ribbon) and same(loaded.state_dict(), network.state_dict())


def test_published_weights_are_loaded_into_it(tmp_path: Path, network: Ribbon) -> None:
    write_tensors(tmp_path / "ribbon.safetensors", network.state_dict())
    loaded, report = load_published(RibbonOptions(), tmp_path / "ribbon.safetensors")
    assert report.loaded == len(network.state_dict()) and same(loaded.state_dict(), network.state_dict())


def test_a_base_model_is_renamed_and_what_it_lacks_starts_fresh(tmp_path: Path, network: Ribbon) -> None:
    base: dict[str, Any] = {
        key.replace("enter.", "input."): value
        for key, value in network.state_dict().items()
        if not key.startswith("words.")
    }
    write_tensors(tmp_path / "base.safetensors", base)
    loaded, report = load_base(RibbonOptions(), tmp_path / "base.safetensors")
    assert report.new == ("words.weight", "words.bias") and report.renamed == 2
    assert torch.equal(loaded.enter.weight, network.enter.weight)


def test_other_keys_are_named(tmp_path: Path, network: Ribbon) -> None:
    state = {key: value for key, value in network.state_dict().items() if key != "leave.bias"}
    write_tensors(tmp_path / "ribbon.safetensors", {**state, "surplus": torch.zeros(1)})
    with pytest.raises(DwmError, match=r"2 keys differ from the config: missing leave\.bias; unexpected surplus"):
        load_published(RibbonOptions(), tmp_path / "ribbon.safetensors")
