"""OpenDWM's configs: all translate, nothing is lost, and whatever is not known is named."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dwm.errors import DwmError
from dwm.opendwm.config.reader import CLASS
from dwm.opendwm.config.translation import is_upstream, translate
from dwm.opendwm.runs import converted

SMALL = {
    "device": "cuda",
    "generator_seed": 3,
    "global_state": {"nuscenes_fs": {CLASS: "dwm.fs.dirfs.DirFileSystem", "path": "data/nuscenes"}},
    "optimizer": {CLASS: "torch.optim.AdamW", "lr": 6e-5, "betas": [0.9, 0.975]},
    "train_epochs": 2,
    "pipeline": {
        CLASS: "dwm.pipelines.ctsd.CrossviewTemporalSD",
        "pretrained_model_name_or_path": "base_model/stable-diffusion-3.5-medium",
        "model_checkpoint_path": "pretrained/x.pth",
        "model": {CLASS: "dwm.models.crossview_temporal_dit.DiTCrossviewTemporalConditionModel", "num_layers": 2},
        "common_config": {"frame_prediction_style": "ctsd", "cat_condition": True, "memory_efficient_batch": 16},
        "training_config": {"reference_frame_count": {"1": 0.4, "3": 0.6}, "text_prompt_condition_ratio": 0.8},
        "inference_config": {"inference_steps": 40, "guidance_scale": 4, "sequence_length_per_iteration": 19},
    },
    "training_dataset": {
        CLASS: "dwm.datasets.common.DatasetAdapter",
        "base_dataset": {
            CLASS: "dwm.datasets.nuscenes.MotionDataset",
            "fs": {CLASS: "dwm.common.get_state", "key": "nuscenes_fs"},
            "dataset_name": "interp_12Hz_trainval",
            "split": "train",
            "sequence_length": 19,
            "fps_stride_tuples": [[10, 0.1]],
            "sensor_channels": ["CAM_FRONT", "CAM_BACK"],
        },
        "transform_list": [
            {
                "old_key": "images",
                "new_key": "vae_images",
                "transform": {
                    CLASS: "torchvision.transforms.Compose",
                    "transforms": [{CLASS: "torchvision.transforms.Resize", "size": [256, 448]}],
                },
            }
        ],
    },
    "training_dataloader": {"batch_size": 2, "num_workers": 3},
}


def small(path: str = "", value: Any = None) -> dict[str, Any]:
    """The small config, with one value changed (`pipeline.model.num_layers`)."""
    config = copy.deepcopy(SMALL)
    if path:
        *way, last = path.split(".")
        here: Any = config
        for step in way:
            here = here[int(step)] if isinstance(here, list) else here[step]
        here[int(last) if isinstance(here, list) else last] = value
    return config


def objects(values: Any, path: tuple = ()) -> Iterator[tuple]:
    if isinstance(values, dict):
        yield path
        for key, value in values.items():
            yield from objects(value, (*path, key))
    elif isinstance(values, list):
        for place, value in enumerate(values):
            yield from objects(value, (*path, place))


def at(values: Any, path: tuple) -> Any:
    for step in path:
        values = values[step]
    return values


def files(shared: Path) -> list[Path]:
    reference = shared / "reference"
    return [*sorted((reference / "configs").rglob("*.json")), *sorted((reference / "examples").glob("*.json"))]


def test_values_arrive_where_they_belong() -> None:
    values = translate(SMALL, "small.json").values
    assert values["training"]["optimizer"] == {"lr": 6e-5, "betas": [0.9, 0.975], "eps": 1e-8, "weight_decay": 0.01}
    assert values["training"]["objective"]["keep_text"] == 0.8 and values["training"]["seed"] == 3
    assert values["training"]["batch"] == {"clips": 2, "frames": 19} and values["data"]["workers"] == 3
    assert values["data"]["size"] == (448, 256) and values["data"]["train"][0]["path"] == "data/nuscenes"
    assert values["sampling"]["num_inference_steps"] == 40 and values["preview"]["window"] == 19
    assert values["compatibility"] == "reference" and values["device"] == "auto"
    assert translate(small("device", "cuda:1"), "small.json").values["device"] == "cuda:1"


def test_one_layout_picture_alone() -> None:
    """As OpenDWM's users do who leave the map out: an adapter of three channels, and one layout in the transforms."""
    values = small("pipeline.model.condition_image_adapter_config", {"in_channels": 3})
    resize = {CLASS: "torchvision.transforms.Compose", "transforms": []}
    boxes = {"old_key": "3dbox_images", "new_key": "3dbox_images", "transform": resize}
    values["training_dataset"]["transform_list"].append(boxes)
    told = translate(values, "small.json").values["conditions"]
    assert told["boxes"] and not told["map"]


def test_an_optimizer_of_eight_bits_is_told_to_be_an_ordinary_one() -> None:
    values = small("optimizer._class_name", "bitsandbytes.optim.Adam8bit")
    made = translate(values, "small.json")
    assert made.values["training"]["optimizer"]["weight_decay"] == 0 and any("8bit" in note for note in made.notes)


def test_boxes_are_coloured_as_opendwm_does_where_a_config_says_nothing() -> None:
    config = small("training_dataset.base_dataset._3dbox_image_settings", {})
    colors = translate(config, "small.json").values["data"]["train"][0]["layout"]["box_colors"]
    assert len(colors) == 9 and not any(name.startswith("movable_object") for name in colors)


def test_fid_and_fvd_are_asked_for_where_their_files_are_here(shared: Path) -> None:
    path = next(path for path in files(shared) if path.name == "ctsd_35_tirda_bm_nwao.json")
    told = converted(json.loads(path.read_text("utf-8")), path.name).run.evaluation
    assert told.optional[-2:] == ("fid", "fvd") and told.fvd_frames == 16
    assert told.i3d_file.endswith("/externals/TATS/tats/fvd/i3d_pretrained_400.pt")


def test_what_is_left_out_has_a_reason() -> None:
    ignored = {item.path: item.reason for item in translate(SMALL, "small.json").ignored}
    assert ignored == {"pipeline.common_config.cat_condition": "OpenDWM reads this key nowhere"}


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("generatorseed", 0, "x.json: generatorseed is not known; nearest: generator_seed"),
        ("pipeline.common_config.cat_conditon", 1, "pipeline.common_config.cat_conditon is not known"),
        ("pipeline._class_name", "os.system", "pipeline._class_name: 'os.system' is not known"),
        ("training_dataset.base_dataset._class_name", "builtins.eval", "base_dataset._class_name: 'builtins.eval'"),
        (
            "training_dataset.transform_list.0.transform.transforms.0.sizes",
            3,
            "transforms.0.sizes is not known; nearest: size",
        ),
        ("training_dataset.base_dataset.fs.key", "nope", "fs.key: 'nope' is not in global_state (nuscenes_fs)"),
        ("optimizer._class_name", "torch.optim.SGD", "optimizer._class_name: 'torch.optim.SGD' is not known"),
        ("optimizer.lr", "fast", "optimizer.lr: expected float, found 'fast'"),
        ("pipeline.model_dtype", {CLASS: "get_class", "class_name": "os.system"}, "'os.system' is not known"),
        ("pipeline.inference_config.scheduler", "os.system", "'os.system' is not known"),
        ("pipeline.common_config.ddp_wrapper_settings", {"x": [{CLASS: "os.system"}]}, "'os.system' is not a class"),
        ("pipeline.common_config", [], "pipeline.common_config: expected an object"),
        ("pipeline.model.temporal_attention_type", "rowise", "'rowise' is not known; nearest: rowwise"),
        ("pipeline.model.mask_module", "x", "mask_module: expected an object"),
        ("lr_scheduler", {"gamma": 1}, "only a constant rate"),
    ],
)
def test_what_is_not_known_is_named(path: str, value: Any, sentence: str) -> None:
    with pytest.raises(DwmError) as caught:
        converted(small(path, value), "x.json")
    assert sentence in str(caught.value) and str(caught.value).startswith("x.json: ") and "\n" not in str(caught.value)


def test_all_published_files_are_known(shared: Path) -> None:
    kinds: dict[str, int] = {}
    refused = []
    for path in files(shared):
        values = json.loads(path.read_text("utf-8"))
        assert is_upstream(values), path
        try:
            kind = translate(values, path.name).kind
            kinds[kind] = kinds.get(kind, 0) + 1
        except DwmError as error:
            refused.append(str(error))
    assert kinds == {"video": 32, "lidar": 15, "files": 6}
    assert len(refused) == 3 and all("simulator script" in line for line in refused)


@pytest.mark.parametrize("name", ["ctsd_35_tirda_bm_nwao", "ctsd_21_tirda_bm_nwa_warmup", "unimlvg_stage2"])
def test_no_key_anywhere_in_a_published_file_goes_unread(name: str, shared: Path) -> None:
    """An unknown key put into any object of the file is an error, unless the object is left out as a whole or is a free table."""
    [path] = [path for path in files(shared) if path.stem == name]
    values = json.loads(path.read_text("utf-8"))
    ignored = [item.path for item in translate(values, name).ignored]
    free = ("color_table", "condition_image_adapter_config", "model", "DiT", "reference_frame_count")
    unread = []
    for place in objects(values):
        dotted = ".".join(map(str, place))
        if any(dotted == left or dotted.startswith(f"{left}.") for left in ignored) or (place and place[-1] in free):
            continue
        at(values, place)["an_unknown_key"] = 1
        try:
            translate(values, name)
            unread.append(dotted)
        except DwmError:
            pass
        del at(values, place)["an_unknown_key"]
    assert not unread


def leaves(values: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all values that hold no others."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    elif isinstance(values, list) and values:
        for place, value in enumerate(values):
            yield from leaves(value, (*path, place))
    else:
        yield path


def changed(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return f"{value}x" if isinstance(value, str) else ["x"] if value == [] else "x" if value is None else {"x": 1}


def what_became(values: Any, name: str) -> tuple[dict, list[str]]:
    """The typed run of a file as plain values, and the paths that are listed as left out."""
    made = converted(copy.deepcopy(values), name)
    return made.run.model_dump(), [item.path for item in made.translation.ignored]


def test_no_value_in_any_published_file_is_lost(shared: Path) -> None:
    """Changing any value changes the run, or is refused, or the value is listed as left out: nothing is read and then dropped.

    Of values in the same place of several files (or entries of one list) the first one stands for all.
    """
    tried, lost = set(), []
    for path in files(shared):
        values = json.loads(path.read_text("utf-8"))
        try:
            before, left_out = what_became(values, path.name)
        except DwmError:
            continue  # the three simulator scripts' settings
        for place in leaves(values):
            alike = (before["verb"], *(re.sub(r"\d+", "#", str(part)) for part in place))
            if alike in tried:
                continue
            tried.add(alike)
            holder, dotted = at(values, place[:-1]), ".".join(map(str, place))
            kept = holder[place[-1]]
            holder[place[-1]] = changed(kept)
            try:
                same = what_became(values, path.name)[0] == before
            except DwmError:
                same = False
            holder[place[-1]] = kept
            if same and not any(dotted == left or dotted.startswith(f"{left}.") for left in left_out):
                lost.append(f"{path.name}: {dotted}")
    assert not lost and len(tried) > 1000


def test_our_own_files_are_not_taken_for_theirs() -> None:
    assert not is_upstream({"verb": "train", "network": {"num_layers": 2}}) and not is_upstream([])


def test_maps_are_read_where_the_network_is_told_of_them(shared: Path) -> None:
    """Published text runs list no archive of maps, and their users need none."""
    configs = shared / "reference" / "configs" / "ctsd" / "multi_datasets"
    for name, read in (("ctsd_35_tirda_nwao", False), ("ctsd_21_tirda_nwao", False), ("ctsd_35_tirda_bm_nwao", True)):
        values = json.loads((configs / f"{name}.json").read_text("utf-8"))
        run = converted(values, name).run
        sources = [source for source in (*run.data.train, *run.data.validation) if source.kind != "opendv"]
        assert len(sources) > 5 and {source.maps for source in sources} == {read}, name
