"""The parts of the nuScenes format that need no picture: names, maps, masks, the 12 Hz tables, staging."""

import json

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import Polygon, box

from dwm.clip import Boxes
from dwm.data.nuscenes.write import names
from dwm.data.nuscenes.write.expansion import write_expansion
from dwm.data.nuscenes.write.mask import write_mask
from dwm.errors import DwmError
from dwm.geometry import rotation_z
from dwm.storage import atomic_folder
from dwm.town.nuscenes.boxes import attribute, visibility_level
from dwm.town.nuscenes.expansion import map_records
from dwm.town.nuscenes.scene import cell_offset
from dwm.town.nuscenes.twelve_hz import twelve_hz
from dwm.town.world.streets import build_streets


def test_scenes_have_names_of_their_own_and_both_splits():
    all_names = [names.scene_name(i) for i in range(names.MAX_SCENES)]
    assert len(set(all_names)) == names.MAX_SCENES
    assert all_names[:2] == ["scene-0061", "scene-0103"]
    val = [names.is_val(i) for i in range(names.MAX_SCENES)]
    assert val[:5] == [False, True, False, False, True]
    assert sum(val) == pytest.approx(names.MAX_SCENES / 5, abs=2)


def test_cells_of_one_place_do_not_meet():
    cells = {(names.location(i), *cell_offset(i)) for i in range(names.MAX_SCENES)}
    assert len(cells) == names.MAX_SCENES


@pytest.mark.parametrize("junction", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_every_token_of_an_expansion_names_a_record(tmp_path, junction, seed):
    streets = build_streets(np.random.default_rng(seed), junction)
    turn = rotation_z(0.7)[:2, :2]
    records = [
        map_records(streets, key, lambda p, dx=dx: p @ turn.T + (300 + dx, 300)) for key, dx in (("a", 0), ("b", 640))
    ]
    write_expansion(tmp_path / "place.json", records, (1280.0, 640.0))
    content = json.loads((tmp_path / "place.json").read_text())
    nodes = {row["token"]: row for row in content["node"]}
    polygons = {row["token"]: row for row in content["polygon"]}
    lines = {row["token"] for row in content["line"]}
    assert all(0 < row["x"] < 1280 and 0 < row["y"] < 640 for row in nodes.values())
    assert len(nodes) == len(content["node"]) and len(polygons) == len(content["polygon"])
    for layer, rows in content.items():
        for row in rows if isinstance(rows, list) and rows and isinstance(rows[0], dict) else []:
            for field, value in row.items():
                if field == "polygon_token":
                    assert value in polygons, layer
                elif field.endswith("line_token"):
                    assert value in lines, layer
                elif field in ("exterior_node_tokens", "node_tokens"):
                    assert set(value) <= nodes.keys(), layer
                elif field.endswith("segments"):
                    assert {s["node_token"] for s in value} <= nodes.keys(), layer
                    assert all(s["segment_type"] for s in value)
    assert len(content["lane"]) == 2 * len(streets.lanes)
    assert len(content["ped_crossing"]) == 2 * len(streets.crossings)
    written = [
        Polygon([(nodes[t]["x"], nodes[t]["y"]) for t in polygons[row["polygon_token"]]["exterior_node_tokens"]])
        for row in content["lane"]
    ]
    for lane, polygon in zip(streets.lanes, written, strict=False):
        placed = Polygon(np.asarray(lane.polygon.exterior.coords) @ turn.T + (300, 300))
        assert polygon.symmetric_difference(placed).area < 0.01
    if junction:
        assert content["lane_connector"] and content["stop_line"] and content["traffic_light"]
        kinds = {s["segment_type"] for row in content["lane"] for s in row["left_lane_divider_segments"]}
        assert "SINGLE_SOLID_YELLOW" in kinds


def test_a_mask_is_white_where_its_polygons_are(tmp_path):
    ring = box(10, 5, 30, 20).difference(box(15, 10, 20, 15))
    write_mask(tmp_path / "mask.png", [ring, box(70, 60, 80, 75)], (100.0, 80.0))
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert mask.shape == (800, 1000) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    assert (mask > 0).sum() == pytest.approx(100 * (ring.area + 150), rel=0.02)
    at = {(12, 7): 255, (17, 12): 0, (50, 40): 0, (75, 65): 255, (29, 19): 255, (31, 19): 0}
    for (x, y), value in at.items():
        assert mask[799 - y * 10, x * 10] == value, (x, y)


def boxes_at(stamp: float) -> Boxes:
    x = stamp * 12e-6
    return Boxes(
        np.array([[x, 0, 1.0], [0, 5, 1]]),
        np.array([[4.0, 2, 1.5]] * 2),
        rotation_z(np.array([0.1, 0])),
        ("vehicle.car",) * 2,
        ("a", "b"),
    )


def test_twelve_hz_takes_the_nearest_sweep_and_the_boxes_of_the_instant():
    keys = [{"token": f"s{i}", "timestamp": i * 500_000, "scene_token": "x", "prev": "", "next": ""} for i in range(3)]
    names.link(keys)
    sweep = [-20_000, 63_333, 146_667, 230_000, 313_333, 396_667, 480_000, 605_000, 730_000, 855_000, 980_000]
    key_at = {-20_000: "s0", 480_000: "s1", 980_000: "s2"}
    chain = [
        {
            "token": f"d{t}",
            "sample_token": key_at.get(t, "?"),
            "timestamp": t,
            "is_key_frame": t in key_at,
            "filename": f"f{t}",
            "prev": "",
            "next": "",
        }
        for t in sweep
    ]
    rows = [
        {
            "token": f"a{i}{name}",
            "sample_token": f"s{i}",
            "instance_token": name,
            "size": [2, 4, 1.5],
            "translation": [],
            "rotation": [],
            "prev": "",
            "next": "",
        }
        for i in range(3)
        for name in "ab"
        if (i, name) != (2, "b")
    ]
    tables = {
        "sample": keys,
        "sample_annotation": rows,
        "scene": [{"token": "x", "nbr_samples": 3}],
        "instance": [{"token": "a", "nbr_annotations": 3}, {"token": "b", "nbr_annotations": 2}],
    }
    dense = twelve_hz(tables, [chain], boxes_at, str)
    assert [row["timestamp"] for row in dense["sample"]] == pytest.approx([i * 500_000 / 6 for i in range(13)])
    assert [row["timestamp"] for row in dense["sample_data"][:7]] == sweep[:7]
    assert [row["timestamp"] for row in dense["sample_data"][7:]] == [
        605_000,
        605_000,
        730_000,
        855_000,
        855_000,
        980_000,
    ]
    assert all(row["is_key_frame"] for row in dense["sample_data"])
    assert [row["token"] for row in dense["sample"]][5:8] == ["s05", "s1", "s11"]
    moving = [row for row in dense["sample_annotation"] if row["instance_token"] == "a"]
    still = [row for row in dense["sample_annotation"] if row["instance_token"] == "b"]
    assert len(moving) == 13 and len(still) == 7
    assert moving[3]["translation"] == pytest.approx([3.0, 0, 1])
    assert [row["nbr_annotations"] for row in dense["instance"]] == [13, 7]
    assert moving[0]["next"] == moving[1]["token"] and moving[12]["next"] == ""
    assert dense["scene"][0]["nbr_samples"] == 13
    assert tables["sample"][0]["next"] == "s1", "the key frames' own tables are left as they were"


def test_attributes_and_visibility_follow_the_format():
    assert attribute("vehicle.car", 3.0, True) == "vehicle.moving"
    assert attribute("vehicle.bus.rigid", 0.0, True) == "vehicle.stopped"
    assert attribute("vehicle.trailer", 0.0, False) == "vehicle.parked"
    assert attribute("vehicle.bicycle", 0.0, False) == "cycle.with_rider"
    assert attribute("human.pedestrian.child", 1.0, True) == "pedestrian.moving"
    assert attribute("movable_object.barrier", 0.0, False) is None
    assert [visibility_level(share) for share in (0.0, 0.39, 0.4, 0.7, 0.8, 1.0)] == ["1", "1", "2", "3", "4", "4"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "set") as root:
        (root / "half").write_text("…")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(tmp_path / "set") as root:
        (root / "whole").write_text("…")
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "whole"]
    with pytest.raises(DwmError, match="not an empty folder"), atomic_folder(tmp_path / "set"):
        pass
