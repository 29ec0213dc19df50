"""Makes what the published LiDAR runs read: the port's folder with 12 Hz tables, KITTI-360, Waymo and Argoverse 2 in it."""

from __future__ import annotations

import json
import pickle
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from port_tree import PortTree, resize, shrink

from dwm.config.lidar import LidarRecipe, TokenGenerator
from dwm.opendwm.runs import lidar_run
from dwm.runs.lidar.parts import blank_generator, start_autoencoder

CELLS, LAYERS, WIDTH, CODES, CHANNELS = 64, 8, 32, 32, 8
KITTI = "2013_05_28_drive_{}_sync"
KITTI_DRIVES = ("0000", "0002", "0003", "0004", "0005", "0006", "0007", "0009", "0010")
"""The drives of the published configs."""


@dataclass(frozen=True)
class LidarTree:
    """`folder` holds data and pretrained. `shared` is where the published configs lie."""

    folder: Path
    shared: Path

    def small(self, name: str) -> Path:
        """A published config with nothing but sizes changed; the weights that it names are made."""
        path = self.folder / "lidar" / f"{name}.json"
        if not path.exists():
            [source] = (self.shared / "reference").rglob(f"{name}.json")
            values = json.loads(source.read_text("utf-8"))
            shrink_lidar(values)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(values), "utf-8")
            run = lidar_run(path, self.folder)
            assert run is not None
            make_weights(run)
        return path


def make_lidar_tree(port: PortTree) -> LidarTree:
    folder, data = port.folder, port.folder / "data"
    _twelve_hz(data / "nuscenes")
    _kitti(port.shared / "data" / "kitti360", data / "kitti360")
    _waymo(port.shared / "data" / "waymo", data / "waymo")
    _argoverse(port.shared / "data" / "argoverse2", data / "argoverse")
    return LidarTree(folder, port.shared)


def make_package(folder: Path, frames: int = 13) -> None:
    """A package of sweeps as OpenDWM's examples read them: a ring and a wall, a car's box, a road; one frame lacks all three."""
    folder.mkdir(parents=True)
    described: dict[str, Any] = {}
    for number in range(frames):
        angles = np.linspace(0, 2 * np.pi, 200)
        ring = np.stack([9 * np.cos(angles), 9 * np.sin(angles), np.full(200, -1.8)], 1)
        wall = np.stack([np.full(200, 20 - number / 2), np.linspace(-8, 8, 200), np.ones(200)], 1)
        points = np.pad(np.concatenate([ring, wall]), ((0, 0), (0, 2))).astype("<f4")
        (folder / f"{number}.bin").write_bytes(points.tobytes())
        for name, color in (("box", (0, 0, 255)), ("map", (0, 255, 0))):
            picture = np.zeros((640, 640, 3), np.uint8)
            picture[300:330, 360 - 4 * number : 400 - 4 * number] = color
            Image.fromarray(picture).save(folder / f"{name}{number}.png")
        lidar = {"lidar_transforms": [[1, 0, 0, 0.9], [0, 1, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]]}
        if number != 5:
            files = {"lidar": f"{number}.bin", "3dbox_bev": f"box{number}.png", "hdmap_bev": f"map{number}.png"}
            lidar |= files  # type: ignore[arg-type]
        pose = [[1, 0, 0, float(number)], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        described[str(number)] = {"timestamp": number / 2, "ego_pose": pose, "lidar_infos": {"LIDAR_TOP": lidar}}
    (folder / "data_lidar.json").write_text(json.dumps(described))


def make_weights(run: LidarRecipe) -> None:
    """`.pth` files as OpenDWM writes them, and the list of blank codes, where the run names them."""
    torch.manual_seed(0)
    if run.autoencoder_weights is not None:
        state = start_autoencoder(run.with_(autoencoder_weights=None)).state_dict()
        _save({"lidar_vae": state} if run.autoencoder.kind == "distribution" else state, run.autoencoder_weights)
    if run.weights is not None:
        _save(blank_generator(run).state_dict(), run.weights)
    if isinstance(run.generator, TokenGenerator) and run.generator.blank_codes is not None:
        Path(run.generator.blank_codes).write_bytes(pickle.dumps(list(range(4))))


def shrink_lidar(values: dict[str, Any]) -> None:
    """Makes a published run small, in place: cells, tokens, widths, rays. All else stays."""
    pipeline = values["pipeline"]
    for name in ("vq_point_cloud", "lidar_vae", "autoencoder"):
        if name in pipeline:
            _autoencoder(pipeline[name])
    if "bi_directional_Transformer" in pipeline:
        network = pipeline["bi_directional_Transformer"]
        network |= {"n_e": CODES, "e_dim": CHANNELS, "hidden_dim": 16, "img_size": [8, 8], "num_heads": 2, "depth": 3}
        network["condition_adapter"]["channels"] = [16] * 8
    if "diffusion_model" in pipeline:
        unet = "block_out_channels" in pipeline["diffusion_model"]
        kept = pipeline["diffusion_model"].get("cross_attention_dim")
        shrink(pipeline["diffusion_model"])
        pipeline["diffusion_model"] |= {"in_channels": 4, "out_channels": 4}
        if unet:
            pipeline["diffusion_model"]["cross_attention_dim"] = kept
        else:
            pipeline["common_config"] |= {"text_embeddings_dim": WIDTH, "pooled_text_embeddings_dim": WIDTH}
    for key in ("training_dataset", "validation_dataset"):
        resize(values.get(key), [CELLS, CELLS])
        _drawn(values.get(key))
    for key in ("training_dataloader", "validation_dataloader", "preview_dataloader"):
        if key in values:
            values[key] |= {"batch_size": min(2, values[key]["batch_size"]), "num_workers": 0}


def _autoencoder(section: dict[str, Any]) -> None:
    section["voxelizer"] |= {"step": 100 / CELLS, "z_step": 8 / LAYERS}
    encoder, decoder = section["lidar_encoder"], section["lidar_decoder"]
    if "vector_quantizer" in section:
        size = {"in_chans": LAYERS, "embed_dim": 16, "num_heads": 2, "depth": 5, "codebook_dim": CHANNELS}
        encoder |= size | {"img_size": CELLS}
        decoder |= size | {"img_size": [CELLS, CELLS], "num_patches": 64}
        section["vector_quantizer"] |= {"n_e": CODES, "e_dim": CHANNELS}
        return
    encoder |= {"img_size": [CELLS, CELLS], "depths": [2, 2], "num_heads": [2, 2], "embed_dim": 16}
    encoder["num_channels"] = LAYERS
    decoder |= {"lidar_size": [CELLS, CELLS], "embed_dim": WIDTH, "num_heads": 2, "in_channels": 4, "depth": [1, 1]}
    decoder |= {"feature_depth": 4, "voxel_depth": LAYERS, "visual_grid_feat_dim": 8}


def _drawn(values: Any) -> None:
    """Pictures from above of as many pixels as there are cells, and fewer points, in place."""
    below = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    if isinstance(values, dict) and "bev_from_ego_transform" in values:
        scale, middle = CELLS / 100, CELLS / 2
        values["bev_from_ego_transform"] = [
            [scale, 0, 0, middle],
            [0, scale, 0, middle],
            [0, 0, scale, 0],
            [0, 0, 0, 1],
        ]
        values |= {"bev_size": [CELLS, CELLS], "pen_width": 1}
    if isinstance(values, dict) and "max_count" in values:
        values["max_count"] //= 80
    for value in list(below):
        _drawn(value)


def _save(state: dict[str, Any], where: str) -> None:
    path = Path(where)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)


def _twelve_hz(nuscenes: Path) -> None:
    """The 12 Hz tables under the name that LiDAR's configs have for them."""
    with (
        zipfile.ZipFile(nuscenes / "interp_12Hz_trainval.zip") as source,
        zipfile.ZipFile(nuscenes / "v1.0-trainval_12hz_meta.zip", "w") as made,
    ):
        for name in source.namelist():
            made.writestr(name.replace("interp_12Hz_trainval/", "v1.0-trainval_12hz/"), source.read(name))


def _kitti(source: Path, place: Path) -> None:
    """The made drive under every drive's name, whose archives lie together."""
    place.mkdir(parents=True)
    made = KITTI.format("0003")
    for number in KITTI_DRIVES:
        with zipfile.ZipFile(place / f"{KITTI.format(number)}_velodyne.zip", "w") as archive:
            _renamed(source / f"{made}_velodyne.zip", archive, made, KITTI.format(number))
    for name in ("data_poses.zip", "data_3d_bboxes.zip"):
        with zipfile.ZipFile(place / name, "w") as archive:
            for number in KITTI_DRIVES:
                _renamed(source / name, archive, made, KITTI.format(number))


def _renamed(source: Path, archive: zipfile.ZipFile, old: str, new: str) -> None:
    with zipfile.ZipFile(source) as found:
        for name in found.namelist():
            if old in name:
                archive.writestr(name.replace(old, new), found.read(name))


def _waymo(source: Path, place: Path) -> None:
    place.mkdir(parents=True)
    for split in ("training", "validation"):
        (place / split).symlink_to(source / "training")
        (place / f"{split}.info.json").symlink_to(source / "training.info.json")


def _argoverse(source: Path, place: Path) -> None:
    place.mkdir(parents=True)
    for split, count in (("train", 14), ("val", 3)):
        (place / f"{split}-000.tar").symlink_to(source / f"{split}-000.tar")
        for number in range(1, count):
            with tarfile.open(place / f"{split}-{number:03d}.tar", "w") as archive:
                archive.addfile(tarfile.TarInfo(f"sensor/{split}/LICENSE-{number}"))
