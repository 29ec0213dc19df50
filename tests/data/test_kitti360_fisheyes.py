"""KITTI-360's fisheyes as pinhole views: genuine boxes painted through the lens lie where layouts draw them; broken files."""

import pickle
import re
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image
from recordings import run
from shapely import MultiPoint, contains_xy

from dwm.clip import Boxes, Clip
from dwm.data import open_dataset
from dwm.data.crossview import rig_mask
from dwm.data.layout import Camera
from dwm.errors import DwmError
from dwm.geometry import UNIT_CUBE_CORNERS

KEYS = "2013_05_28_drive_0000_sync"
FRAME = 250
LENSES = {
    "image_02": {"xi": 2.2134, "k1": 0.0168, "k2": 1.6549, "gamma1": 1336.32, "gamma2": 1335.79, "u0": 716.94, "v0": 705.76},
    "image_03": {"xi": 2.5535, "k1": 0.0494, "k2": 4.5068, "gamma1": 1485.44, "gamma2": 1484.95, "u0": 698.88, "v0": 698.15},
}  # fmt: skip
"""About the set's own numbers."""


def write_lens(folder, camera, **changes):
    numbers = LENSES[camera] | {"p1": 0.0, "p2": 0.0, "image_width": 1400, "image_height": 1400} | changes
    lines = ["%YAML:1.0", "---", "model_type: MEI", f"camera_name: {camera}"]
    text = "\n".join([*lines, *(f"   {key}: {number}" for key, number in numbers.items())])
    (folder / "calibration" / f"{camera}.yaml").write_text(text + "\n")


@pytest.fixture
def drive(shared, tmp_path, monkeypatch):
    """Three genuine scans with their boxes, ten seconds and more apart."""
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    source, folder = shared / "data" / "kitti360", tmp_path / "set"
    for archive in source.glob("*.zip"):
        with zipfile.ZipFile(archive) as members:
            members.extractall(folder, [name for name in members.namelist() if KEYS in name])
    (folder / "calibration").mkdir()
    for file in (source / "calibration").iterdir():
        shutil.copyfile(file, folder / "calibration" / file.name)
    for camera in LENSES:
        write_lens(folder, camera)
        picture(folder, camera).parent.mkdir(parents=True)
        Image.new("RGB", (1400, 1400)).save(picture(folder, camera), compress_level=1)
    return folder


def picture(folder, camera):
    return folder / "data_2d_raw" / KEYS / camera / "data_rgb" / f"{FRAME:010d}.png"


def clip_of(folder) -> Clip:
    scene = open_dataset(folder)[KEYS]
    (row,) = [r for r in scene.rows_of["image_02"] if f"{FRAME:010d}" in scene._files(np.array([[r]]))[0][0]]
    stamps = scene._stamps("velodyne")
    return scene.clip(float(scene.tables.columns.timestamp[row] - stamps[0]) / 1e6, 1)


def seen_by_fisheye(points, lens):
    """Pixels by the formula of the set's own tools, which leave the small tangential terms out."""
    x, y, z = (points / np.linalg.norm(points, axis=1, keepdims=True)).T
    x, y = x / (z + lens["xi"]), y / (z + lens["xi"])
    square = x**2 + y**2
    bent = 1 + lens["k1"] * square + lens["k2"] * square**2
    return np.stack([lens["gamma1"] * x * bent + lens["u0"], lens["gamma2"] * y * bent + lens["v0"]], 1)


def surface(boxes: Boxes, row: int, steps: int = 350):
    """Points of a box's six faces, metres in the world."""
    across = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, steps)] * 2), -1).reshape(-1, 2)
    faces = [np.insert(across, axis, side, axis=1) for axis in range(3) for side in (-0.5, 0.5)]
    return (np.concatenate(faces) * boxes.size[row]) @ boxes.rotation[row].T + boxes.center[row]


def test_what_the_lens_sees_lies_where_layouts_draw_it(drive):
    clip = clip_of(drive)
    assert clip.views == tuple(LENSES) and clip.rig.at(0).image_size.tolist() == [[1008, 576]] * 2
    half = np.rad2deg(np.arctan(1008 / 2 / clip.rig.intrinsics[:, 0, 0]))
    np.testing.assert_allclose(half, 50)
    ahead = clip.rig.ego_from_camera[:, :3, 2]
    assert ahead[0, 1] > 0.99 and ahead[1, 1] < -0.99  # to the left, to the right
    assert not rig_mask(clip.rig)[0, 1]
    compared = 0
    for view, (camera, lens) in enumerate(LENSES.items()):
        boxes, camera_at = clip.boxes[0][view], Camera(clip, 0, view)
        painted, hulls = np.zeros((1400, 1400), np.uint8), np.zeros((576, 1008), bool)
        rows, columns = np.mgrid[:576, :1008]
        for row in range(len(boxes.center)):
            corners = (UNIT_CUBE_CORNERS * boxes.size[row]) @ boxes.rotation[row].T + boxes.center[row]
            pixels = camera_at.see(corners)
            if (pixels[:, 2] < 1).any() or not 2 < np.linalg.norm(
                boxes.center[row] - camera_at.world_from_camera[:3, 3]
            ) < 25:
                continue
            in_camera = surface(boxes, row) @ camera_at.camera_from_world[:3, :3].T + camera_at.camera_from_world[:3, 3]
            places = np.round(seen_by_fisheye(in_camera, lens)).astype(int)
            places = places[((places >= 0) & (places < 1400)).all(1)]
            painted[places[:, 1], places[:, 0]] = 255
            hulls |= contains_xy(MultiPoint(pixels[:, :2] / pixels[:, 2:]).convex_hull, columns, rows)
        Image.fromarray(painted).convert("RGB").save(picture(drive, camera), compress_level=1)
        found = clip.pictures.load(0, view)[..., 0] > 127
        if hulls.sum() > 1000:
            assert (found & hulls).sum() / (found | hulls).sum() > 0.97
            compared += 1
    assert compared


def test_a_fisheye_without_calibration_is_left_out_in_a_line(drive, capsys):
    (drive / "calibration" / "image_03.yaml").unlink()
    code, said = run(capsys, "data", "check", drive)
    assert code == 0
    assert (
        "has no calibration of image_03 (calibration/image_03.yaml), which is left out; fetch calibration.zip" in said
    )
    assert open_dataset(drive)[KEYS].views == ("image_02",)
    write_lens(drive, "image_03")
    assert open_dataset(drive)[KEYS].views == ("image_02", "image_03")


@pytest.mark.parametrize(
    "pattern, text, says",
    [
        ("MEI", "KANNALA_BRANDT", r"image_02\.yaml: the lens is of the model KANNALA_BRANDT, not MEI"),
        (r"gamma2: \S+", "gamma2: .nan", r"image_02\.yaml: gamma2 is missing, or no finite number"),
        (r".*k2.*\n", "", r"image_02\.yaml: k2 is missing"),
        ("xi: 2", "xi: -2", r"image_02\.yaml: by its numbers 100° reach beyond the picture"),
        ("u0: 716", "u0: 16", r"image_02\.yaml: by its numbers 100° reach beyond the picture"),
        ("image_width: 1400", "image_width: 1e300", r"image_02\.yaml: .*image_width"),
    ],
)
def test_a_broken_lens_is_one_line(drive, capsys, pattern, text, says):
    path = drive / "calibration" / "image_02.yaml"
    path.write_text(re.sub(pattern, text, path.read_text()))
    code, said = run(capsys, "data", "check", drive)
    assert code == 3 and re.search(says, said.replace("\n", " ")) and "Traceback" not in said


def test_pictures_of_another_size_and_torn_ones_are_named(drive):
    clip = pickle.loads(pickle.dumps(clip_of(drive)))
    Image.new("RGB", (700, 700)).save(picture(drive, "image_02"))
    with pytest.raises(DwmError, match=r"0250\.png: is 700×700, but calibration/image_02\.yaml is of 1400×1400"):
        clip.pictures.load(0, 0)
    whole = picture(drive, "image_03").read_bytes()
    picture(drive, "image_03").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DwmError, match=r"image_03/data_rgb/0000000250\.png: is no whole picture"):
        clip.pictures.load(0, 1)


def test_a_package_keeps_the_views_that_were_cut_out(drive, tmp_path, capsys):
    Image.effect_noise((1400, 1400), 80).convert("RGB").save(picture(drive, "image_02"), compress_level=1)
    assert run(capsys, "data", "convert", drive, "-o", tmp_path / "package")[0] == 0
    one, other = clip_of(drive), clip_of(tmp_path / "package")
    np.testing.assert_array_equal(one.pictures.load(0, 0), other.pictures.load(0, 0))
    np.testing.assert_allclose(one.rig.ego_from_camera, other.rig.ego_from_camera)
