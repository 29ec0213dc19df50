"""Whether generated sweeps have cars where the boxes are, beside the town's true ones.

Run: python benchmarks/sweep_agreement.py [--weights town_lidar] [--clips 24] [--steps N] [--quick] [--pictures FOLDER]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from dwm.evaluation.sweep_agreement import SweepAgreement
from dwm.report.rays import lidar_video
from dwm.runs.lidar.pipeline import LidarPipeline
from dwm.town import town_scene

SEED = 77
"""Of a town that no weights were trained on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="town_lidar")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pictures", type=Path)
    chosen = parser.parse_args()
    pipe = LidarPipeline.from_pretrained(chosen.weights, num_inference_steps=chosen.steps)
    agreement, seconds, count = SweepAgreement(pipe.rays), 0.0, 2 if chosen.quick else chosen.clips
    for number in range(count):
        truth = town_scene(SEED, number).clip(4.0, 2, 0.25)
        started = time.process_time()
        made = replace(truth, lidar=pipe(truth, seed=number))
        seconds += time.process_time() - started
        agreement.add(truth, made)
        if chosen.pictures is not None:
            lidar_video(made.part(slice(1), slice(None)), pipe.rays, truth).save(chosen.pictures / f"{number:02d}.png")
    result = agreement.result()
    print("\n".join(result.lines()))
    print(f"{result.sweeps} sweeps of town {SEED}, {seconds / result.sweeps:.2f} CPU seconds each")


if __name__ == "__main__":
    main()
