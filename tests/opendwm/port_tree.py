"""Makes the Ascend port's folder: packed tars of the town become zips by `tar2zip.py`, beside captions, base models and weights."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from dwm.base_models.tiny import TinyOptions, create_tiny_base_model
from dwm.networks.kinds import kind_of
from dwm.opendwm.runs import load_recipe
from dwm.town import NuScenesOptions, TownOptions, caption_words, write_nuscenes

ROOT = Path(__file__).parents[2]
WIDTH = 32
SD3 = TinyOptions(
    latent_channels=16, clip_width=WIDTH // 2, t5_width=WIDTH, autoencoder_widths=(8, 8, 8, 8), norm_groups=4, shift=3.0
)
SD21 = SD3.with_(family="sd21", latent_channels=4, clip_width=WIDTH)
BASES = {
    "stable-diffusion-3.5-medium": SD3,
    "stable-diffusion-3-medium-diffusers": SD3,
    "stable-diffusion-2-1": SD21,
    "CogVideoX-2b": SD3.with_(video=True),
}
CAPTIONS = "nuscenes_v1.0-{}_caption_v2_{}{}.json"
QUIET = TownOptions(duration=4, traffic=("quiet",), trees=("few",), heights=("low",), junction_share=0, max_lanes=2)
LAYERS = 2
"""Spatial blocks of a network that is made small."""


PORT = "reference/port/configs/ctsd/single_dataset/ctsd_35_crossview_tirda_bm_nusc_a.json"
SINGLE = "reference/configs/ctsd/single_dataset/"
ON_NUSCENES = [
    PORT,
    *(
        f"{SINGLE}{name}.json"
        for name in (
            "ctsd_21_crossview_tirda_bm_nusc_a",
            "ctsd_21_tirda_bm_nusc_a",
            "ctsd_21_tirda_bm_nusc_a_warmup",
            "ctsd_35_crossview_tirda_bm_nusc_a",
            "ctsd_35_tirda_bm_nusc_a",
            "ctsd_35_tirda_bm_nusc_a_warmup",
        )
    ),
]


OPENDV = "reference/configs/ctsd/unimlvg/ctsd_unimlvg_stage1_tird_o.json"


@dataclass(frozen=True)
class PortTree:
    """`folder` holds data/nuscenes, base_model and pretrained. `shared` is where the published configs lie."""

    folder: Path
    shared: Path

    def small(
        self, config: str, pictures: tuple[int, int] | None = None, frames: tuple[int, int] | None = None
    ) -> Path:
        """A published config with nothing but sizes changed: its network's, (width, height) of its pictures where given, and of
        its clips where `frames` gives how many there are and how many steps make them.

        Its weights are made where the config wants them.
        """
        path = self.folder / Path(config).relative_to("reference")
        if pictures is not None:
            path = path.with_stem(f"{path.stem}_{pictures[0]}x{pictures[1]}")
        if not path.exists():
            values = json.loads((self.shared / config).read_text(encoding="utf-8"))
            pipeline = values["pipeline"]
            shrink(pipeline.get("model") or pipeline["DiT"])
            if (pipeline.get("model_checkpoint_path") or "").startswith(
                "{"
            ):  # words that stand for a file of the user's
                pipeline["model_checkpoint_path"] = f"pretrained/{path.stem}.pth"
            if pictures is not None:
                resize(values, [pictures[1], pictures[0]])
            if frames is not None:
                shorten(values, *frames)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
            self._weights(path)
        return path

    def _weights(self, config: Path) -> None:
        run = load_recipe(config, self.folder)
        if run.weights is None:
            return
        place = Path(run.weights)
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        # Each config has sizes of its own, so that published weights are made anew for each.
        state = kind_of(run.network).network()(run.network).state_dict()
        save_file(state, place) if place.suffix == ".safetensors" else torch.save(state, place)

    def run(self, *command: str, status: int = 0, limit: int = 240, **environment: str) -> str:
        """What a command, typed in this folder, says. Scripts are named from the repository's root."""
        program = [sys.executable, str(ROOT / command[0])] if command[0].endswith(".py") else [command[0]]
        names = [str(ROOT / part) if part.startswith("test/") else part for part in command[1:]]
        told = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **environment}
        done = subprocess.run(
            [*program, *names], cwd=self.folder, env=told, capture_output=True, text=True, timeout=limit
        )
        assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout + done.stderr


def make_port_tree(folder: Path, shared: Path) -> PortTree:
    data, town = folder / "data" / "nuscenes", folder / "town"
    data.mkdir(parents=True)
    # As short as the longest window of the published configs allows (35 frames at 10 Hz), and as little to draw.
    options = NuScenesOptions(seconds=3.5, size=(96, 54), lidar_hz=10)
    write_nuscenes(town, scenes=2, seed=3, format="zips", options=options, town=QUIET, workers=1)
    tree = PortTree(folder, shared)
    pack(town, data)
    for packed in sorted(data.glob("*.tgz")):
        tree.run("src/dwm/tools/tar2zip.py", "-i", str(packed), "-o", str(packed.with_suffix(".zip")))
        packed.unlink()
    shutil.rmtree(town)
    for name, sizes in BASES.items():
        create_tiny_base_model(folder / "base_model" / name, caption_words(), 0, sizes)
    return tree


def pack(town: Path, data: Path) -> None:
    """The town's archives under the names of nuScenes' download: packed tars, ten of them with pictures and sweeps."""
    with zipfile.ZipFile(town / "v1.0-mini_meta.zip") as meta:
        names = {name: name.replace("v1.0-mini/", "v1.0-trainval/") for name in meta.namelist()}
        write_tgz(data / "v1.0-trainval_meta.tgz", ((names[name], meta.read(name)) for name in names))
    with zipfile.ZipFile(town / "v1.0-mini_blobs.zip") as blobs:
        # Nothing here looks at a sweep: each is cut to its first points, so that archives stay small.
        files = [(name, blobs.read(name)[: 20_000 if name.endswith(".bin") else None]) for name in blobs.namelist()]
    for number in range(10):
        write_tgz(data / f"v1.0-trainval{number + 1:02d}_blobs.tgz", files[number::10])
    for name in ("interp_12Hz_trainval.zip", "nuScenes-map-expansion-v1.3.zip"):
        shutil.move(town / name, data / name)
    for split in ("train", "val"):
        for kind in ("", "times_"):
            shutil.move(town / CAPTIONS.format("mini", kind, split), data / CAPTIONS.format("trainval", kind, split))


def write_tgz(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def shrink(model: dict[str, Any]) -> None:
    """Makes a network's section small, in place; its kinds of blocks and all else stay."""
    if "block_out_channels" in model:
        model |= {"block_out_channels": [WIDTH] * 4, "num_attention_heads": [2] * 4, "cross_attention_dim": WIDTH}
        model["layers_per_block"] = 1
    else:
        model |= {"attention_head_dim": 8, "num_attention_heads": WIDTH // 8, "caption_projection_dim": WIDTH}
        model |= {"joint_attention_dim": WIDTH, "pooled_projection_dim": WIDTH, "pos_embed_max_size": 32}
        model["num_layers"] = LAYERS
        for key in ("dual_attention_layers", "crossview_block_layers", "temporal_block_layers"):
            if model.get(key):
                model[key] = [layer for layer in model[key] if layer < LAYERS] or [LAYERS - 1]
    adapter = model.get("condition_image_adapter_config")
    if adapter is not None:
        kept = LAYERS if "num_layers" in model else None
        adapter["is_downblocks"] = adapter["is_downblocks"][:kept]
        adapter["channels"] = [WIDTH] * len(adapter["is_downblocks"])


def resize(values: Any, size: list[int]) -> None:
    """Gives every step of a config that brings pictures to a size, and every latent, this (height, width), in place."""
    below = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    if isinstance(values, dict) and values.get("_class_name") == "torchvision.transforms.Resize":
        values["size"] = size
    if isinstance(values, dict) and "latent_shape" in values:
        values["latent_shape"][-2:] = [edge // 8 for edge in size]
    for value in below:
        resize(value, size)


def shorten(values: dict[str, Any], frames: int, steps: int) -> None:
    """Gives a generation example's clips this many frames where they had more, made in this many sampling steps, in place.

    Of several inputs that are videos the first stays.
    """
    values["pipeline"]["inference_config"]["inference_steps"] = steps
    if frames > 1 and "inputs" in values:
        del values["inputs"][1:]
    for one in values.get("inputs", ()):
        one["latent_shape"][1] = min(frames, one["latent_shape"][1])
        for key in ("pts", "camera_transforms", "camera_intrinsics", "image_size", "clip_text"):
            one["batch"][key][0] = one["batch"][key][0][:frames]
    if "validation_dataset" in values:
        base = values["validation_dataset"]["base_dataset"]
        for source in base.get("datasets", [base]):
            source["sequence_length"] = frames


def add_opendv(shared: Path, folder: Path) -> Path:
    """The port's place for OpenDV, filled with made videos: its four archives, list and captions; six more videos to validate."""
    source, place = shared / "data" / "opendv", folder / "data" / "opendv"
    place.mkdir(parents=True)
    names = [path.name for path in sorted((source / "videos").iterdir()) if path.name != "dwm_made_05.mp4"]
    held_out = [f"held_out_{number}.webm" for number in range(6)]
    for number in range(4):
        with zipfile.ZipFile(place / f"opendv-youtube-10hz-720_{number}.zip", "w") as made:
            for name in (*names, *held_out)[number::4]:
                made.write(source / "videos" / (name if name in names else "dwm-made_03.webm"), name)
    listed = json.loads((source / "meta" / "OpenDV-YouTube.json").read_text())
    val = next(entry for entry in listed if entry["videoid"] == "dwm-made_03")
    listed += [val | {"videoid": name.removesuffix(".webm")} for name in held_out]
    (place / "OpenDV-YouTube.json").write_text(json.dumps(listed))  # with its NaN
    captions = json.loads((source / "meta" / "captions.json").read_text())
    times = json.loads((source / "meta" / "candidates_times.json").read_text())
    for name in ("dwm-made_03.webm", *held_out):
        captions[f"{name}.0"], times[name] = {"weather": "rain", "image_description": "a road"}, [0]
    (place / "opendv_caption.json").write_text(json.dumps(captions))
    (place / "opendv_candidates_times.json").write_text(json.dumps(times))
    return folder
