"""OpenDWM's network sections, translated into this house's options by explicit tables. Builds only what the tables know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from dwm.errors import DwmError, nearest
from dwm.networks import AdapterOptions, DiTOptions, UNetOptions
from dwm.options import Options

DIT = "dwm.models.crossview_temporal_dit.DiTCrossviewTemporalConditionModel"
UNET = "dwm.models.crossview_temporal_unet.UNetCrossviewTemporalConditionModel"
MASK = "dwm.models.mask_layers.MaskController"

SomeOptions = TypeVar("SomeOptions", bound=Options)


def dit_options(config: Mapping[str, Any], where: str = "model") -> DiTOptions:
    """The transformer's constructor arguments as options. `where` names the file and path for messages. Raises DwmError."""
    values = _without_depth(config, where)
    kind = values.get("temporal_attention_type")
    if kind not in ("full", "rowwise") and (kind is not None or values.get("enable_temporal")):
        values["temporal_attention_type"] = "pointwise"
    if not values.get("enable_crossview"):
        values.pop("crossview_attention_type", None)
    if values.get("mixer_type", "AlphaBlender") != "AlphaBlender":
        values["mixer_type"] = "Mixer"
    if values.get("perspective_modeling_type") not in ("implicit", "explicit"):
        values["perspective_modeling_type"] = ""
    if values.get("mask_module") is not None:
        values["mask_module"] = _mask_module(values["mask_module"], f"{where}.mask_module")
    return checked(DiTOptions, {**values, "compatibility": "reference"}, where)


def unet_options(config: Mapping[str, Any], where: str = "model") -> UNetOptions:
    """The U-Net's constructor arguments as options. `where` names the file and path for messages. Raises DwmError."""
    return checked(UNetOptions, _without_depth(config, where), where)


def adapter_options(config: Mapping[str, Any], where: str = "model") -> AdapterOptions:
    return checked(AdapterOptions, {k: v for k, v in config.items() if k != "_class_name"}, where)


def checked(options: type[SomeOptions], values: Mapping[str, Any], where: str) -> SomeOptions:
    """`options` of these values; the first thing that is wrong becomes one line with its path."""
    try:
        return options(**values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([where, *(str(part) for part in first["loc"])])
        hint = nearest(str(first["loc"][-1]), options.model_fields) if first["type"] == "extra_forbidden" else ""
        raise DwmError(f"{path}: {first['msg']}{hint}") from None


def _without_depth(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    if config.get("depth_net") is not None:
        raise DwmError(f"{where}.depth_net: no depth is predicted; only null can be read")
    return {key: value for key, value in config.items() if key not in ("_class_name", "depth_net")}


def _mask_module(config: Any, where: str) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise DwmError(f"{where}: expected an object {{…}}, found {type(config).__name__}")
    name = config.get("_class_name", MASK)
    if name != MASK:
        raise DwmError(f"{where}._class_name: {name!r} is not known; known: {MASK}")
    # Two arguments that are stored and have no effect, of whatever type.
    unread = ("_class_name", "mask_embed_config", "decoder_pos_embed_recipe")
    values = {key: value for key, value in config.items() if key not in unread}
    values.setdefault("use_origin_mask_token", None)
    if values.get("mae_mask_type", "constant") not in ("rand_t", "mix_constant_row_t", "row_t_rc"):
        values["mae_mask_type"] = "constant"
    return values
