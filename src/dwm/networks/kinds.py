"""The one table of driving networks. To add one: write it (`protocol`), and give it a line here.

A network's code is imported when one is built, so that reading a run's options costs none of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dwm.errors import DwmError
from dwm.networks.dit.options import DiTOptions
from dwm.networks.options import NetworkOptions
from dwm.networks.unet.options import UNetOptions

NOTHING = re.compile(r"(?!)")


def _unchanged(state: Mapping[str, Any]) -> dict[str, Any]:
    return dict(state)


@dataclass(frozen=True)
class NetworkKind:
    """A kind of driving network.

    name: what it is called in a weights folder's config.json; options: their class; network: gives its class, a DrivingNetwork.
    new: what is found in the names of parameters that the base model lacks, which start fresh. from_base: the base model's
    state dict under our names; nothing changes where it has them already. at_identity: lets a new network begin as if its
    blocks were not there; None: it is not trained from nothing.
    """

    name: str
    options: type[NetworkOptions]
    network: Callable[[], type]
    new: re.Pattern[str] = NOTHING
    from_base: Callable[[Mapping[str, Any]], dict[str, Any]] = _unchanged
    at_identity: Callable[[Any], None] | None = None

    def without_numbers(self, options: NetworkOptions) -> Any:
        """A network of these options on the meta device: shapes alone, no memory."""
        import torch

        make = (
            self.network()
        )  # before the block: PyTorch 2.6 computes while it imports what the network's libraries ask for
        with torch.device("meta"):
            return make(options)

    def is_new(self, key: str) -> bool:
        """Whether the base model has no such parameter."""
        return self.new.search(key) is not None

    def own_keys(self, usual: NetworkKind) -> frozenset[str]:
        """Options by which it is told from the usual kind."""
        return frozenset(self.options.model_fields) - frozenset(usual.options.model_fields)


def _dit() -> type:
    from dwm.networks.dit.transformer import CrossviewTemporalDiT

    return CrossviewTemporalDiT


def _dit_at_identity(network: Any) -> None:
    from dwm.networks.initialize import zero_extra_blocks, zero_modulation

    zero_modulation(network)
    zero_extra_blocks(network)


def _unet() -> type:
    from dwm.networks.unet.network import CrossviewTemporalUNet

    return CrossviewTemporalUNet


def rename_sd21(state: Mapping[str, Any]) -> dict[str, Any]:
    """Plain SD 2.1 keys as ours: its residual blocks become the spatial half of ours. Idempotent."""
    if not any(re.search(r"resnets\.\d+\.conv", key) for key in state):
        return dict(state)
    return {re.sub(r"resnets\.(\d+)", r"resnets.\1.spatial_res_block", key): value for key, value in state.items()}


NEW_IN_DIT = re.compile(
    r"^(crossview_transformer_blocks|temporal_transformer_blocks|view_mixers|time_mixers|view_pos_embeds|time_pos_embeds"
    r"|view_embedding|rayencoder|condition_image_adapter|mask_module)\."
)
"""Beginnings of keys that SD 3 and 3.5 do not have."""

NEW_IN_UNET = re.compile(
    r"(^|\.)(crossview_transformer_blocks|temporal_transformer_blocks|temporal_res_block|time_mixer|view_mixer"
    r"|time_pos_embed|view_pos_embed|add_embedding|condition_image_adapter)\."
)
"""Parts of keys that SD 2.1 does not have."""

KINDS = {
    kind.name: kind
    for kind in (
        NetworkKind("CrossviewTemporalDiT", DiTOptions, _dit, NEW_IN_DIT, at_identity=_dit_at_identity),
        NetworkKind("CrossviewTemporalUNet", UNetOptions, _unet, NEW_IN_UNET, rename_sd21),
    )
}
"""By name. The first is the usual one, which a config without a name means."""

USUAL = next(iter(KINDS.values()))


def kind_named(name: Any, where: str) -> NetworkKind:
    """The kind that a file names. Raises DwmError for one that is not in the table; `where` is for the message."""
    if not isinstance(name, str) or name not in KINDS:
        raise DwmError(f"{where}: _class_name {name!r} is not known; known: {', '.join(KINDS)}")
    return KINDS[name]


def kind_of(options: NetworkOptions) -> NetworkKind:
    """The kind of a network with these options."""
    return next(kind for kind in KINDS.values() if kind.options is type(options))


def kind_of_values(values: Mapping[str, Any]) -> NetworkKind:
    """The kind that plain values are options of: the usual one, unless they have a key that only another kind has."""
    others = (kind for kind in KINDS.values() if kind is not USUAL)
    return next((kind for kind in others if kind.own_keys(USUAL) & set(values)), USUAL)


@contextmanager
def added(kind: NetworkKind) -> Iterator[None]:
    """A block in which there is one more kind, of whoever tries one out."""
    KINDS[kind.name] = kind
    try:
        yield
    finally:
        del KINDS[kind.name]
