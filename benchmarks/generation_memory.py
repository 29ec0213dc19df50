"""Peak memory of a generation against its estimate: a folder of random weights, each plan in a process of its own.

python benchmarks/generation_memory.py [--quick] [--dtype bfloat16]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from dwm.base_models import BaseModel
from dwm.base_models.tiny import TinyOptions, create_tiny_base_model
from dwm.checkpoints import SamplingOptions, WeightsCard
from dwm.checkpoints.folder import write_folder
from dwm.config.generation_memory import Request, generation_memory
from dwm.networks import CrossviewTemporalDiT, DiTOptions

SIZE, FRAMES, VIEWS = (256, 128), 2, ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT")
CHILD = """
import sys
from pathlib import Path
import torch, transformers, diffusers
from dwm.generation import DrivingPipeline
from dwm.runs.blank_clip import plain_clip
folder, dtype, how = sys.argv[1], getattr(torch, sys.argv[2]), sys.argv[3]
views, frames = sys.argv[4].split(","), int(sys.argv[5])
DrivingPipeline.from_pretrained("town")(plain_clip(views, 1, 4.0), prompt="day", num_inference_steps=1, force=True)
def held(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = held("VmRSS")
pipe = DrivingPipeline.from_pretrained(folder, torch_dtype=dtype, words=None if how == "whole" else ("day",))
pipe(plain_clip(views, frames, 4.0), prompt="day", num_inference_steps=1, force=True)
print(held("VmHWM") - before)
"""


def build(folder: Path, quick: bool) -> DiTOptions:
    """Weights whose text encoders are larger than their network, as SD 3.5's are."""
    width, layers, heads = (256, 2, 2) if quick else (1024, 12, 8)
    tiny = TinyOptions(clip_width=width // 2, t5_width=width, t5_layers=layers, autoencoder_widths=(32, 64, 64, 64))
    create_tiny_base_model(folder / "base", ["day"], seed=0, options=tiny)
    options = DiTOptions(
        num_layers=6,
        num_attention_heads=heads,
        in_channels=8,
        out_channels=8,
        joint_attention_dim=width,
        pooled_projection_dim=width,
        caption_projection_dim=64 * heads,
        qk_norm="rms_norm",
        enable_crossview=True,
        crossview_attention_type="rowwise",
        crossview_block_layers=(1, 3),
    )
    torch.manual_seed(0)
    card = WeightsCard(name="random", sizes=(SIZE,), views=VIEWS, sampling=SamplingOptions(guidance_scale=2.0))
    write_folder(
        folder / "weights", card, CrossviewTemporalDiT(options), BaseModel.load(folder / "base"), torch.float16
    )
    return options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small weights: whether it runs")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        options = build(Path(place), chosen.quick)
        weights, dtype = Path(place) / "weights", getattr(torch, chosen.dtype)
        need = generation_memory(options, weights, Request(FRAMES, len(VIEWS), SIZE, FRAMES, text=24), dtype)
        print(need.line())
        print(f"{'plan':12} {'estimate, GB':>13} {'peak, GB':>9}")
        for how in ("whole", "text first"):
            command = [sys.executable, "-c", CHILD, str(weights), chosen.dtype, how, ",".join(VIEWS), str(FRAMES)]
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            print(f"{how:12} {need.plan(how).peak / 1e9:13.2f} {int(found[-1]) / 1e9:9.2f}", flush=True)


if __name__ == "__main__":
    main()
