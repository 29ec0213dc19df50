"""Published configs on the port's folder: their data sections open, captions included, with no key of the file changed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from port_tree import ON_NUSCENES, OPENDV, PORT, PortTree, add_opendv

from dwm.data import ReadOptions, open_dataset, prepare
from dwm.data.readers import Ask
from dwm.errors import DwmError
from dwm.opendwm.runs import load_recipe, ready_recipe
from dwm.runs.clips import training_readers, validation_clips

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from made_up_nuscenes import make_files, make_tables, write

WAYMO = "reference/configs/ctsd/single_dataset/ctsd_21_crossview_tirda_bm_waymo.json"
ARGOVERSE = "reference/configs/ctsd/single_dataset/ctsd_21_crossview_tirda_bm_argo.json"


def training_configs(shared: Path) -> list[str]:
    """Every published file that has a training set of pictures."""
    found = [*sorted((shared / "reference" / "configs").rglob("*.json")), shared / PORT]
    names = [str(path.relative_to(shared)) for path in found if "lidar" not in str(path)]
    return [name for name in names if "training_dataset" in json.loads((shared / name).read_text())]


@pytest.mark.slow
@pytest.mark.parametrize("config", ON_NUSCENES, ids=lambda name: Path(name).stem + " (port)" * (name == PORT))
def test_a_published_config_reads_its_data_from_the_ports_folder(config: str, port_tree: PortTree) -> None:
    run = load_recipe(port_tree.shared / config, port_tree.folder)
    assert all(source.captions for source in (*run.data.train, *run.data.validation))
    (reader,) = training_readers(run.data)
    held_out = validation_clips(run.data)
    (source,) = run.data.train
    for clip, frames in ((reader.windows[0], source.frames), (held_out[0], run.data.validation[0].frames)):
        assert clip.length == frames and len(clip.views) == 6
        assert all(caption.image_description for row in clip.captions for caption in row)
    batch = prepare(reader.windows[0], run.data.size)
    assert batch.captions is not None and float(batch.layout_boxes.max()) > 0 and float(batch.layout_map.max()) > 0
    assert reader.windows[0].scene != held_out[0].scene


def test_every_other_training_config_ends_in_one_line_where_its_data_are_not(shared: Path, tmp_path: Path) -> None:
    others = [name for name in training_configs(shared) if name not in ON_NUSCENES]
    assert len(others) == 16
    for name in others:
        with pytest.raises(DwmError, match=r"is not here|does not exist|holds no") as error:
            training_readers(ready_recipe(shared / name, tmp_path, train=True).data)
        assert "\n" not in str(error.value)


def test_the_published_waymo_config_opens_its_data_and_draws_in_its_colours(shared: Path, tmp_path: Path) -> None:
    """On the genuine key frame: only paths are changed."""
    pytest.importorskip("google_crc32c", reason="extra waymo is not installed")
    content = json.loads((shared / WAYMO).read_text())
    data = shared / "data" / "waymo"
    for key in ("training_dataset", "validation_dataset"):
        base = content[key]["base_dataset"]
        base["fs"]["path"], base["info_dict_path"] = str(data / "training"), str(data / "training.info.json")
        words = base["image_description_settings"]
        words["path"], words["time_list_dict_path"] = str(data / "captions.json"), str(data / "caption_times.json")
    (tmp_path / "waymo.json").write_text(json.dumps(content))
    run = load_recipe(tmp_path / "waymo.json")
    (source,) = run.data.train
    assert source.layout.box_colors["static_object.sign"] == (255, 0, 255)
    assert set(source.layout.map_colors) == {"lane", "drivable_area", "ped_crossing"}
    (reader,) = training_readers(run.data)
    clip = next(window for window in reader.windows if window.scene.startswith("1024360143612057520"))
    assert clip.views == source.views and clip.length == source.frames
    assert all(caption.image_description for caption in clip.captions[0])
    batch = prepare(clip, run.data.size, source.layout)
    assert float(batch.layout_boxes.max()) > 0 and float(batch.layout_map.max()) > 0


def test_the_published_argoverse_config_opens_its_data_and_draws_in_its_colours(shared: Path, tmp_path: Path) -> None:
    """On the genuine log, in its tar: only paths are changed."""
    content = json.loads((shared / ARGOVERSE).read_text())
    data = shared / "data" / "argoverse2"
    for key in ("training_dataset", "validation_dataset"):
        base = content[key]["base_dataset"]
        base["fs"]["fs"]["path"], base["fs"]["paths"] = str(data), ["val-000.tar"]
        words = base["image_description_settings"]
        words["path"], words["time_list_dict_path"] = str(data / "captions.json"), str(data / "caption_times.json")
    (tmp_path / "argoverse.json").write_text(json.dumps(content))
    run = load_recipe(tmp_path / "argoverse.json")
    (source,) = run.data.train
    assert source.layout.box_colors["human.pedestrian.cyclist"] == (255, 0, 0) and source.layout.pen_width == 10
    (reader,) = training_readers(run.data)
    assert len(reader.windows) == 8
    clip = reader.windows[1]
    assert clip.views == source.views and clip.length == source.frames
    assert all(caption.image_description for caption in clip.captions[0])
    batch = prepare(clip, run.data.size, source.layout)
    assert float(batch.layout_boxes.max()) > 0 and float(batch.layout_map.max()) > 0


def test_the_published_opendv_config_reads_its_data_from_the_ports_folder(shared: Path, tmp_path: Path) -> None:
    run = ready_recipe(shared / OPENDV, add_opendv(shared, tmp_path), train=True, networks=False)
    with pytest.warns(UserWarning, match="izhGt1GnGFk, which is to be left out, is not there"):
        (reader,) = training_readers(run.data)
        held_out = validation_clips(run.data)
    assert (len(reader), reader.views, len(held_out)) == (3, 6, 1)
    batch = reader.read(Ask(0, run.data.size)).clips
    assert batch.frames.shape == (1, 19, 6, 3, 256, 448) and bool(batch.is_uncalibrated.all())
    assert batch.crossview_mask[0].equal(torch.eye(6, dtype=torch.bool))
    assert batch.times[0, 0].tolist() == [0.0] * 6
    assert held_out[0].scene.count("webm@3000000") == 6 and held_out[0].captions[0][5].weather == "rain"


@pytest.mark.parametrize("config", ON_NUSCENES[1:], ids=lambda name: Path(name).stem)
def test_a_path_of_the_authors_machines_names_its_key_and_the_ports_place(config: str, shared: Path) -> None:
    line = (
        rf"{re.escape(config)}: global_state.nuscenes_fs.fs.path is /cache/\S+/wuzehuan, which is not on this machine "
        r".*the port has it at data/nuscenes/interp_12Hz_trainval.zip: set the key .* give --root DIR"
    )
    with pytest.raises(DwmError, match=line):
        ready_recipe(shared / config, train=True)


def test_a_root_has_a_place_for_every_path_of_every_published_config(shared: Path, tmp_path: Path) -> None:
    reference = shared / "reference"
    files = [
        *(reference / "configs").rglob("*.json"),
        *reference.glob("examples/*.json"),
        *reference.glob("port/**/*.json"),
    ]
    files = [
        path for path in files if not ("lidar" in path.name or "simulation" in str(path) or path.parent.name == "fs")
    ]
    for path in files:
        run = load_recipe(path, tmp_path)
        sources = (*run.data.train, *run.data.validation)
        places = [run.base_model, run.autoencoder_folder, run.weights, *(source.path for source in sources)]
        places += [name for source in sources for name in (source.captions or ()) if name]
        # Words in braces stand for a path of the user's own: only some of them say which file it is.
        left = [place for place in places if place and not Path(place).is_relative_to(tmp_path)]
        assert all(place.startswith("{") for place in left), path
    assert len(files) == 34


def test_what_is_ones_own_stays_where_it_is(shared: Path, tmp_path: Path) -> None:
    values = json.loads((shared / PORT).read_text())
    values["pipeline"]["pretrained_model_name_or_path"] = str(tmp_path / "mine")
    values["training_dataset"]["base_dataset"]["image_description_settings"]["path"] = (
        "https://example.org/captions.json"
    )
    (tmp_path / "c.json").write_text(json.dumps(values))
    run = load_recipe(tmp_path / "c.json", tmp_path / "root")
    assert (
        run.base_model == str(tmp_path / "mine")
        and run.data.train[0].captions[0] == "https://example.org/captions.json"
    )
    assert run.data.train[0].path == str(tmp_path / "root/data/nuscenes")


def test_what_lies_in_a_bucket_is_not_sought_on_this_machine(shared: Path, tmp_path: Path) -> None:
    values = json.loads((shared / PORT).read_text())
    service = {"_class_name": "dwm.fs.s3fs.ForkableS3FileSystem", "endpoint_url": "http://my.store"}
    values["global_state"]["nuscenes_fs"]["fs"] |= {"path": "bucket", "fs": service}
    for name in ("training_dataset", "validation_dataset"):
        settings = values[name]["base_dataset"]["image_description_settings"]
        settings |= dict.fromkeys(("path", "time_list_dict_path"), "https://example.org/captions.json")
    (tmp_path / "c.json").write_text(json.dumps(values))
    run = ready_recipe(tmp_path / "c.json", tmp_path, train=True)
    assert (run.data.train[0].path, run.data.train[0].endpoint) == ("bucket", "http://my.store")


def test_a_missing_archive_says_where_it_is_to_be_had_or_how_its_tar_becomes_one(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data" / "nuscenes"
    data.mkdir(parents=True)
    with pytest.raises(
        DwmError, match=r"interp_12Hz_trainval.zip is not here .*fetch it from https://\S+ and put it there"
    ):
        ready_recipe(shared / PORT, train=True)
    (data / "interp_12Hz_trainval.zip").touch()
    (data / "v1.0-trainval_meta.tgz").touch()
    with pytest.raises(
        DwmError, match=r"v1.0-trainval_meta.tgz lies beside: python src/dwm/tools/tar2zip.py -i \S+ -o \S+"
    ):
        ready_recipe(shared / PORT, train=True)


def test_captions_that_are_named_are_files_of_the_working_folder_not_of_the_archives(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", make_files(make_tables()))
    plain, times = folder / "captions.json", folder / "caption_times.json"
    said = open_dataset(folder, options=ReadOptions(captions=(str(plain), str(times))))
    scene = next(iter(said))
    assert scene.window(scene.windows(1, 0.0, 1)[0]).captions[0][0].time == "day"
    with pytest.raises(
        DwmError, match=rf"captions {plain.name}: no such file .*holds a {plain.name}, which is read where"
    ):
        open_dataset(folder, options=ReadOptions(captions=(plain.name, times.name)))
