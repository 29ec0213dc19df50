"""How far a generation in half precision is from the same one in float32."""

from __future__ import annotations

from dataclasses import dataclass

from dwm.checkpoints.folder import read_card
from dwm.checkpoints.locations import resolve
from dwm.devices import pick_device
from dwm.evaluation.picture_quality import psnr
from dwm.report import Video
from dwm.runs.generate import GenerationRun, check, choose_clip, completed, loaded, sampled


@dataclass(frozen=True)
class Difference:
    """How far a video is from the same one in float32, over pictures in [0, 1]. psnr: dB; largest: of one number."""

    dtype: str
    psnr: float
    largest: float

    def line(self) -> str:
        return (
            f"{self.dtype} against float32: PSNR {self.psnr:.1f} dB, largest difference {255 * self.largest:.1f} of 255"
        )


def difference(video: Video, reference: Video, dtype: str) -> Difference:
    """Of two videos of one clip."""
    apart = (video.frames - reference.frames).double()
    return Difference(dtype, psnr(video, reference), float(apart.abs().max()))


def differences(run: GenerationRun) -> list[Difference]:
    """Generates the run's clip in float32 and in each narrower dtype that this device may use."""
    card = read_card(resolve(run.weights))
    run = completed(run, card)
    check(run, card)
    clip = choose_clip(run, card)
    choices = [run.dtype] if run.dtype not in ("auto", "float32") else ["bfloat16"]
    if run.dtype == "auto" and pick_device(run.device).type != "cpu":
        choices.append("float16")
    exact = sampled(loaded(run.with_(dtype="float32")), clip, run, "float32")
    return [difference(sampled(loaded(run.with_(dtype=name)), clip, run, name), exact, name) for name in choices]
