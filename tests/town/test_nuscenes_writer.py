"""A whole written set: read back by our reader, equal to the town; the same bytes in every form; nothing half written."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dwm.clip import NUSCENES_VIEWS
from dwm.data import ReadOptions, open_dataset
from dwm.data.nuscenes.write.names import CAMERA_LEAD_US, LOCATIONS, TABLES
from dwm.errors import DwmError
from dwm.town import TownOptions, town_scene, write_nuscenes
from dwm.town.nuscenes import writer as nuscenes_writer
from dwm.town.nuscenes.scene import START_US
from dwm.town.nuscenes.writer import NuScenesOptions

SEED, SECONDS, SIZE = 5, 0.5, (160, 96)
OPTIONS = NuScenesOptions(seconds=SECONDS, size=SIZE, lidar_hz=10)
TOWN = TownOptions(times=("day",))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_nuscenes(tmp_path_factory.mktemp("town") / "set", 2, SEED, options=OPTIONS, town=TOWN, workers=1)


@pytest.fixture(scope="module")
def zips(tmp_path_factory):
    output = tmp_path_factory.mktemp("zips") / "set"
    return write_nuscenes(output, 2, SEED, format="zips", options=OPTIONS, town=TOWN, workers=2)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_archives_hold_the_bytes_of_the_folder_whatever_the_workers(folder, zips):
    expected, found = files_of(folder), {}
    for path in zips.iterdir():
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None
                members = {name: archive.read(name) for name in archive.namelist()}
                stored = {info.compress_type for info in archive.infolist() if info.filename.endswith(".jpg")}
                assert stored <= {zipfile.ZIP_STORED}
            assert not members.keys() & found.keys()
            found |= members
        else:
            found[path.name] = path.read_bytes()
    assert {p.name for p in zips.iterdir() if p.suffix == ".zip"} == {
        "v1.0-mini_meta.zip",
        "v1.0-mini_blobs.zip",
        "nuScenes-map-expansion-v1.3.zip",
        "interp_12Hz_trainval.zip",
    }
    maps = {name for name in expected if name.startswith("maps/expansion")}
    assert {name.removeprefix("maps/") for name in maps} <= found.keys()
    assert found.keys() == expected.keys() - maps
    differ = [name for name in found if found[name] != expected[name]]
    assert not differ


def test_both_sets_of_tables_are_whole(folder):
    for version in ("v1.0-mini", "interp_12Hz_trainval"):
        tables = {name: json.loads((folder / version / f"{name}.json").read_text()) for name in TABLES}
        assert all(tables.values())
        assert {row["name"] for row in tables["scene"]} == {"scene-0061", "scene-0103"}
        assert len(tables["sample"]) == 2 * (2 if version == "v1.0-mini" else 7)
        for row in tables["sample_data"]:
            assert (folder / row["filename"]).is_file()
    written = {row["filename"] for row in json.loads((folder / "v1.0-mini/sample_data.json").read_text())}
    assert len(list(folder.rglob("*.jpg"))) == sum(name.endswith("jpg") for name in written) == 2 * 6 * 7


@pytest.mark.parametrize("form", ["folder", "zips"])
def test_the_reader_gives_back_the_town(request, form):
    data = open_dataset(request.getfixturevalue(form), "interp_12Hz_trainval", options=ReadOptions(lidar=False))
    for index, scene in enumerate(data.scenes):
        town = town_scene(SEED, index, TOWN)
        clip = scene.clip(0.0, 7, 12)
        shift = None
        for t, v in ((0, 1), (4, 0), (6, 5)):
            time_s = (int(clip.times[t, v]) - town.start_us) * 1e-6
            picture, drawn = clip.pictures.load(t, v), town.picture(time_s, NUSCENES_VIEWS[v], SIZE)
            assert picture.shape == (*SIZE[::-1], 3)
            assert np.abs(picture.astype(int) - drawn.astype(int)).mean() < 5
            pose = clip.world_from_ego[t, v]
            assert np.allclose(pose[:3, :3], town.world_from_ego(time_s)[:3, :3], atol=1e-9)
            moved = pose[:3, 3] - town.world_from_ego(time_s)[:3, 3]
            shift = moved if shift is None else shift
            assert np.allclose(moved, shift, atol=1e-6)
            sample = round((time_s - (START_US + CAMERA_LEAD_US[NUSCENES_VIEWS[v]]) * 1e-6) * 12)
            boxes, truth = clip.boxes[t][v], town.boxes_of(town.things(START_US * 1e-6 + sample / 12))
            nearest = np.linalg.norm(boxes.center[:, None] - shift - truth.center[None], axis=-1).argmin(1)
            assert len(boxes) and np.allclose(boxes.center - shift, truth.center[nearest], atol=1e-4)
            assert np.allclose(boxes.rotation, truth.rotation[nearest], atol=1e-4)
            assert boxes.category == tuple(truth.category[i] for i in nearest)
            assert clip.captions[t][v] == town.caption(time_s, NUSCENES_VIEWS[v])
            scale = np.array(SIZE) / town.rig.image_size[v]
            assert np.allclose(clip.rig.intrinsics[v][:2], town.rig.intrinsics[v][:2] * scale[:, None])
            assert np.allclose(clip.rig.ego_from_camera[v], town.rig.ego_from_camera[v], atol=1e-9)
        for layer, polygons in town.map.layers.items():
            own = [p for p in clip.map.layers[layer] if p.distance(_moved(polygons[0], shift)) < 400]
            assert len(own) == len(polygons)
            assert all(a.symmetric_difference(_moved(b, shift)).area < 0.5 for a, b in zip(own, polygons, strict=True))


def _moved(polygon, shift):
    from shapely.affinity import translate

    return translate(polygon, shift[0], shift[1])


def test_key_frames_have_what_the_town_knows(folder):
    tables = {name: json.loads((folder / "v1.0-mini" / f"{name}.json").read_text()) for name in TABLES}
    annotations = tables["sample_annotation"]
    assert {row["visibility_token"] for row in annotations} > {"1", "4"}
    seen = [row["num_lidar_pts"] for row in annotations if row["visibility_token"] == "4"]
    unseen = [row["num_lidar_pts"] for row in annotations if row["visibility_token"] == "1"]
    assert np.mean(seen) > 3 * np.mean(unseen)
    names = {row["token"]: row["name"] for row in tables["attribute"]}
    used = {names[token] for row in annotations for token in row["attribute_tokens"]}
    assert {"vehicle.parked", "vehicle.moving", "pedestrian.moving"} <= used
    captions = [json.loads((folder / f"nuscenes_v1.0-mini_caption_v2_{s}.json").read_text()) for s in ("train", "val")]
    assert [len(c) for c in captions] == [12, 12]
    assert {row["location"] for row in tables["log"]} <= LOCATIONS.keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scenes": 0}, "scenes: 0"),
        ({"scenes": 5000}, "several sets"),
        ({"format": "zip"}, "nearest: zips"),
        ({"options": NuScenesOptions(seconds=20)}, "longer town"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_cannot_be_written_is_said_in_one_line(tmp_path, arguments, said):
    with pytest.raises(DwmError, match=said) as caught:
        write_nuscenes(tmp_path / "set", **{"scenes": 1, "seed": 0, **arguments})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_whatever_stops_it_leaves_nothing_behind(tmp_path, monkeypatch, fault):
    def stop(job):
        (job.root / "samples").mkdir()
        (job.root / "samples" / "half.jpg").write_bytes(b"half")
        raise fault

    monkeypatch.setattr(nuscenes_writer, "write_scene", stop)
    with pytest.raises((KeyboardInterrupt, DwmError)) as caught:
        write_nuscenes(tmp_path / "set", 1, SEED, options=OPTIONS, town=TOWN, workers=1)
    assert isinstance(fault, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert not list(tmp_path.iterdir())
