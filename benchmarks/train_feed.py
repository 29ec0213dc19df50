"""What the feed and the store are worth: wait for data, time of a step and memory, from pictures and from stored latents.

    python benchmarks/train_feed.py            # a town of 1600×900 photographs, made on the spot
    python benchmarks/train_feed.py --quick

Each case is a process of its own that trains the tiny twin of sd35-layout-nuscenes (six views, four frames, one clip a step) on
one core, with a base model of about 330 MB of random weights. Prints a table; asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from dwm.base_models.tiny import TinyOptions, create_tiny_base_model
from dwm.config import Recipe, find, load, save
from dwm.config.data import SourceOptions
from dwm.recipes.tiny import tiny
from dwm.runs.driving import driving_material, load_parts
from dwm.runs.encode import encode_run
from dwm.runs.start import context
from dwm.runs.train import card
from dwm.training.loop.step import step_generator
from dwm.training.stages.driving_stage import driving_trainings

BASE = TinyOptions(
    clip_tokens=77,
    t5_tokens=77,
    clip_width=512,
    clip_layers=6,
    t5_width=1024,
    t5_layers=4,
    autoencoder_widths=(32, 64, 128, 128),
)
CASES = {
    "store, 2 workers": {"workers": 2},
    "store, no worker": {"workers": 0},
    "pictures, 2 workers": {"workers": 2, "store": None},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed, after two that are not")
    parser.add_argument("--quick", action="store_true", help="three steps")
    parser.add_argument("--case", nargs=2, metavar=("NAME", "CONFIG"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    steps = 3 if given.quick else given.steps
    if given.case:
        print(json.dumps(measure(load(given.case[1]), steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(Path(folder))
        started = time.process_time(), time.perf_counter()
        made = encode_run(run)
        cpu, wall = time.process_time() - started[0], time.perf_counter() - started[1]
        print(f"encoded {made.latents} latents and {made.texts} texts in {wall:.1f} s ({cpu:.1f} s of processor)")
        report(run, Path(folder), steps)


def prepared(folder: Path) -> Recipe:
    """The run on a set, a base model and a store in `folder`."""
    from dwm.town import caption_words, write_nuscenes
    from dwm.town.nuscenes.writer import NuScenesOptions

    data = write_nuscenes(folder / "town", 1, 1, options=NuScenesOptions(seconds=1.5, size=(1600, 900)), workers=1)
    create_tiny_base_model(folder / "base", caption_words(), 0, BASE)
    run = tiny(find("sd35-layout-nuscenes"))
    source = SourceOptions(path=str(data), frames=4, rates=((4.0, 0.1),), lidar_clock=False)
    network = run.network.with_(joint_attention_dim=BASE.t5_width, pooled_projection_dim=2 * BASE.clip_width)
    return run.with_(
        base_model=str(folder / "base"),
        network=network,
        data=run.data.with_(train=(source,), validation=(), clips=None, color_jitter=None, store=str(folder / "store")),
        device="cpu",
        autocast="float32",
    )


def report(run: Recipe, folder: Path, steps: int) -> None:
    header = ("", "s/step", "wait, s", "wait, %", "cpu s/step", "MB, trainer", "MB, workers")
    print(f"{header[0]:22}" + "".join(f"{name:>13}" for name in header[1:]))
    for name, changes in CASES.items():
        config = save(run.with_(data=run.data.with_(**changes)), folder, f"{len(name)}{name[0]}.json")
        command = [sys.executable, __file__, "--steps", str(steps), "--case", name, str(config)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        row = (found["step"], found["wait"], 100 * found["wait"] / found["step"], found["cpu"])
        print(
            f"{name:22}" + "".join(f"{value:13.3f}" for value in row) + f"{found['mine']:13.0f}{found['workers']:13.0f}"
        )


def measure(run: Recipe, steps: int) -> dict[str, float]:
    """Seconds of a step and of its wait for data; memory of this process at its most, and of its workers together."""
    torch.set_num_threads(1)
    run_context = context(run, Path("not written"))
    material = driving_material(run, card(run), load_parts(run), run_context.device)
    task = driving_trainings(run.driving_stages()[-1:], material, run_context.folder)[0].task(run_context)
    optimizer = torch.optim.AdamW(task.module.parameters(), 1e-4)
    batches, waited, started, processor = task.batches(0), 0.0, 0.0, 0.0
    for number in range(steps + 2):
        if number == 2:
            waited, started, processor = 0.0, time.perf_counter(), time.process_time()
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        task.losses(batch, step_generator(0, number)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    seconds = (time.perf_counter() - started) / steps
    processor = (time.process_time() - processor) / steps
    workers = sum(proportional(child.pid) for child in multiprocessing.active_children() if child.pid)
    return {
        "step": seconds,
        "wait": waited / steps,
        "cpu": processor,
        "mine": resident(),
        "workers": workers,
    }


def resident() -> float:
    """MB that this process held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1000


def proportional(pid: int) -> float:
    """MB of a process's memory, what it shares divided by those who share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1000


if __name__ == "__main__":
    main()
