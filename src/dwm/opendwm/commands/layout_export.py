"""Held-out clips of a run as layout packages: a `data.json` with pictures of boxes and map beside it, and first photographs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from PIL import Image

from dwm.clip import Clip
from dwm.config import Recipe
from dwm.data.layout import draw_boxes, draw_map
from dwm.data.options import LayoutOptions
from dwm.errors import DwmError
from dwm.opendwm.commands.layout_package import PackageCamera, PackageFrame, dump
from dwm.progress import track
from dwm.runs.clips import validation_clips
from dwm.storage import atomic_folder, check_folder, inside, plain_name


def export_packages(run: Recipe, output: Path, photographs: int = 0, count: int | None = None) -> list[Path]:
    """Writes `output`/{scene}/data.json for each held-out clip ({scene}_1, … where a scene has several), and returns the paths.

    The first `photographs` frames keep their photographs. Raises DwmError where a package is there already.
    """
    check_folder(output)
    clips = validation_clips(run.data)
    layout = run.data.validation[0].layout or run.data.layout
    count_of: Counter[str] = Counter()
    paths = []
    for number in track(range(min(len(clips), count or len(clips))), "packages"):
        clip = clips[number]
        name = clip.scene if not count_of[clip.scene] else f"{clip.scene}_{count_of[clip.scene]}"
        count_of[clip.scene] += 1
        paths.append(
            write_package(clip, output / plain_name(name, "a scene's name"), run.data.size, layout, photographs)
        )
    return paths


def write_package(clip: Clip, folder: Path, size: tuple[int, int], layout: LayoutOptions, photographs: int = 0) -> Path:
    """One clip as a package with pictures of `size` (width, height); a package appears when it is whole."""
    if clip.boxes is None or clip.map is None:
        raise DwmError(f"{clip.scene}: boxes or map are not known; a layout package needs both")
    with atomic_folder(folder) as beside:
        frames = [_frame(clip, number, beside, size, layout, number < photographs) for number in range(clip.length)]
        (beside / "data.json").write_text(dump(frames), encoding="utf-8")
    return folder / "data.json"


def _frame(
    clip: Clip, number: int, folder: Path, size: tuple[int, int], layout: LayoutOptions, photograph: bool
) -> PackageFrame:
    stamp = round(number / (clip.fps or 1), 4)
    cameras, rig = {}, clip.rig.at(number)
    for view, name in enumerate(clip.views):
        pictures = {
            "3dbox": draw_boxes(clip, number, view, size, layout),
            "hdmap": draw_map(clip, number, view, size, layout),
        }
        if photograph and clip.pictures is not None:
            pictures["rgb"] = clip.pictures.load(number, view, size)
        files = {}
        for kind, picture in pictures.items():
            files[kind] = inside(f"{name}/{kind}/{stamp}.png", f"{clip.scene}: a camera")
            path = folder / files[kind]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
        cameras[name] = PackageCamera(
            **files,
            extrin=rig.ego_from_camera[view].tolist(),
            intrin=rig.intrinsics[view].tolist(),
            image_size=tuple(rig.image_size[view].tolist()),
            image_description="" if clip.captions is None else clip.captions[number][view].text(),
        )
    return PackageFrame(timestamp=stamp, ego_pose=clip.world_from_ego[number, 0].tolist(), camera_infos=cameras)
