"""What an evaluation keeps of each clip, a file for each: a stopped run goes on, processes share the work, records are compared.

A file's name says which clip of which run it is of (weights, data, settings, seed), so that whatever lies in the folder from
other runs is never mistaken for it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from dwm.clip import Clip
from dwm.errors import DwmError
from dwm.evaluation.measure import Look
from dwm.report import Video
from dwm.report.video import spread_frames
from dwm.storage import atomic_write, regular

FOLDER = "clips"
FRAMES, WIDTH = 8, 320
"""Of the pictures that are kept to be shown: most frames of a clip, and most pixels across."""
QUALITY = 90
MOST_PIXELS = 64_000_000
"""Of a strip: views side by side, frames below one another."""
PICTURES = "pictures"


@dataclass(frozen=True)
class KeptClip:
    """One clip's file: what the scores kept, and small videos of it by name (real, layout, generated)."""

    look: Look
    videos: Mapping[str, Video]


def key_of(run: Mapping[str, Any], clip: Clip, seed: int) -> str:
    """The name of a clip's file: a digest of everything that its numbers depend on."""
    words = None if clip.captions is None else [[caption.text() for caption in row] for row in clip.captions]
    about = [run, clip.scene, clip.times.tolist(), words, seed]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:32]


def path_of(output: Path, key: str) -> Path:
    return output / FOLDER / f"{key}.safetensors"


def save_look(path: Path, look: Look, videos: Mapping[str, Video]) -> None:
    """Writes one clip's file, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    places: dict[str, dict[str, str]] = {}
    first: dict[int, str] = {}  # features that several scores share are written once
    for score, statistics in look.statistics.items():
        for name, tensor in statistics.items():
            place = first.setdefault(id(tensor), f"{score}/{name}")
            places.setdefault(score, {})[name] = place
            tensors.setdefault(place, tensor.detach().cpu().contiguous().clone())
    about: dict[str, Any] = {"size": look.size, "left_out": look.left_out, "scores": places, "videos": {}}
    for name, video in videos.items():
        small = preview(video)
        tensors[f"{PICTURES}/{name}"] = _encoded(small)
        about["videos"][name] = {"fps": small.fps, "views": small.views, "frames": small.length}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, {"dwm": json.dumps(about)})


def load_look(path: Path) -> KeptClip:
    """Reads one clip's file; features stay in it until they are asked for. Raises DwmError where it is broken."""
    try:
        with safe_open(regular(path), "pt") as file:
            about = json.loads(file.metadata()["dwm"])
            there = set(file.keys())
            videos = {
                name: _decoded(file.get_tensor(f"{PICTURES}/{name}"), facts) for name, facts in about["videos"].items()
            }
        kept = {str(score): InFile(path, dict(places)) for score, places in about["scores"].items()}
        if missing := {place for one in kept.values() for place in one.places.values()} - there:
            raise ValueError(f"lacks {min(missing)}")
        width, height = about["size"]
        return KeptClip(Look((int(width), int(height)), kept, str(about["left_out"])), videos)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DwmError(
            f"{path}: not what an evaluation keeps of a clip ({reason}); remove it, and evaluate again"
        ) from error


class InFile(Mapping[str, Tensor]):
    """What a score kept of a clip, read when it is asked for. places: where in the file each tensor is, by its name."""

    def __init__(self, path: Path, places: Mapping[str, str]) -> None:
        self.path, self.places = path, places

    def __getitem__(self, name: str) -> Tensor:
        place = self.places[name]
        with safe_open(self.path, "pt") as file:
            return file.get_tensor(place)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def preview(video: Video) -> Video:
    """A clip's video as it is kept to be shown: fewer frames, evenly spread, and smaller pictures."""
    chosen = spread_frames(video.length, FRAMES)
    fps = video.fps * (len(chosen) - 1) / (video.length - 1) if video.length > 1 else video.fps
    frames = torch.nan_to_num(video.frames[:1, chosen])
    width, height = video.size
    if width > WIDTH:
        size = (round(height * WIDTH / width), WIDTH)
        flat = F.interpolate(frames.flatten(0, 2), size, mode="bilinear", antialias=True, align_corners=False)
        frames = flat.unflatten(0, frames.shape[:3])
    return Video(frames, fps, video.views)


def _encoded(video: Video) -> Tensor:
    pictures = video.pictures()
    t, v, h, w, _ = pictures.shape
    file = io.BytesIO()
    Image.fromarray(pictures.transpose(0, 2, 1, 3, 4).reshape(t * h, v * w, 3)).save(file, "JPEG", quality=QUALITY)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def _decoded(content: Tensor, facts: Mapping[str, Any]) -> Video:
    t, views = int(facts["frames"]), tuple(map(str, facts["views"]))
    with Image.open(io.BytesIO(content.numpy().tobytes()), formats=["JPEG"]) as picture:
        if picture.width * picture.height > MOST_PIXELS or picture.width % len(views) or picture.height % t:
            raise ValueError(f"pictures of {picture.width}×{picture.height}")
        strip = np.asarray(picture.convert("RGB"))
    h, w = strip.shape[0] // t, strip.shape[1] // len(views)
    pictures = strip.reshape(t, h, len(views), w, 3).transpose(0, 2, 4, 1, 3)
    return Video(torch.from_numpy(pictures.astype(np.float32) / 255)[None], float(facts["fps"]), views)
