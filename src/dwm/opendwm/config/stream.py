"""The live parts of OpenDWM's streaming configs: encoder, simulator, layout overlay. Opens nothing."""

from __future__ import annotations

from typing import Any

from dwm.opendwm.config.data import Read, read_transform
from dwm.opendwm.config.files import GET_STATE, State
from dwm.opendwm.config.reader import Section

SIMULATOR = "dwm.datasets.carla_streaming.StreamingDataAdapter"
CLIENT = "carla.Client"


def read_stream(top: Section, state: State, recipe: dict[str, Any]) -> dict[str, Any]:
    """The fields of `stream` that lie at the top of the file."""
    stream: dict[str, Any] = {
        "latent_size": top.take("latent_size", None),
        "encoder": {key: str(value) for key, value in top.take_as(dict, "stream_options", {}).items()},
        "container": {key: str(value) for key, value in top.take_as(dict, "container_options", {}).items()},
        "show_layout": top.take_as(bool, "preview_condition", False),
    }
    adapter = top.maybe("data_adapter")
    if adapter is not None:
        stream |= _simulator(adapter, state, recipe)
    return stream


def _simulator(adapter: Section, state: State, recipe: dict[str, Any]) -> dict[str, Any]:
    adapter.class_name((SIMULATOR,))
    pictures = _pictures(adapter)
    stream = {"fps": adapter.take("fps", None), "description": adapter.take("environment_description", None)}
    stream["simulator"] = _address(adapter.section("client"), state)
    views = adapter.take_as(list, "sensor_channels")
    frames = recipe["preview"]["window"] or 1
    source = {
        "kind": "carla",
        "path": stream["simulator"],
        "frames": frames,
        "views": views,
        "rates": [[stream["fps"], 1]],
    }
    recipe["data"]["validation"] = [source]
    if pictures.size is not None:
        recipe["data"]["size"] = pictures.size
    recipe["training"]["batch"]["frames"] = frames
    adapter.ignore("pictures come with every frame", "enable_images")
    adapter.ignore("batches are typed: nothing has to be collated", "collate_fn", "pop_list")
    adapter.close()
    return stream


def _pictures(adapter: Section) -> Read:
    """The picture sizes of the adapter's transforms."""
    read = Read()
    for transform in adapter.sections("transform_list"):
        read_transform(transform, read)
    return read


def _address(section: Section, state: State) -> str:
    if section.is_class(GET_STATE):
        name, value = state.find(section, "client", (CLIENT,))
        section = Section(value, f"global_state.{name}", section.ledger)
    section.class_name((CLIENT,))
    address = f"{section.take_as(str, 'host')}:{section.take_as(int, 'port')}"
    section.ignore("one thread serves one stream", "worker_threads")
    section.close()
    return address
