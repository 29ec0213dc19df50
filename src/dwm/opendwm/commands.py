"""OpenDWM's commands with the flags that its users type; each parses and calls one function."""

from __future__ import annotations

import argparse
from pathlib import Path


def _parser(what: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("-c", "--config-path", type=Path, required=True, help="a JSON config, OpenDWM's or ours")
    return parser


def generation_example() -> None:
    """`examples/ctsd_generation_example.py`"""
    parser = _parser("Generate the inputs of an example.")
    parser.add_argument("-o", "--output-path", type=Path, required=True, help="folder for the pictures or videos")
    parser.add_argument("-r", "--repeat", type=int, default=1, help="runs of each input, after a warm-up")
    parser.add_argument("--tiny", action="store_true", help="the built-in weights instead of the published ones")
    given = parser.parse_args()

    from dwm.opendwm.examples import read_example, run_example

    example = read_example(given.config_path)
    run_example(example, given.output_path, max(1, given.repeat), given.tiny, str(given.config_path))
    print(f"written: {given.output_path}")


def train() -> None:
    """`src/dwm/train.py`"""
    parser = _parser("Train a run.")
    parser.add_argument("-o", "--output-path", type=Path, required=True)
    parser.add_argument("--log-steps", type=int, default=100)
    parser.add_argument("--preview-steps", type=int, default=400)
    parser.add_argument("--checkpointing-steps", type=int, default=10_000)
    parser.add_argument("--evaluation-steps", type=int, default=10_000)
    parser.add_argument("--resume-from", type=int, default=None)
    given = parser.parse_args()

    from dwm.opendwm.runs import load_recipe
    from dwm.recipes.train import train_run

    run = load_recipe(given.config_path)
    loop = run.training.with_(log_every=given.log_steps, save_every=given.checkpointing_steps)
    print(train_run(run.with_(training=loop), given.output_path, given.resume_from is not None))


def tar_to_zip() -> None:
    """`src/dwm/tools/tar2zip.py`"""
    parser = argparse.ArgumentParser(description="Turn a tar archive into a zip that is read in place.")
    parser.add_argument("-i", "--input-path", type=Path, required=True)
    parser.add_argument("-o", "--output-path", type=Path, required=True)
    parser.add_argument(
        "-e", "--deflated", default=".bin|.json|.pcd|.txt", help="endings that are compressed, split by |"
    )
    given = parser.parse_args()

    from dwm.storage import zip_tar

    made = zip_tar(given.input_path, given.output_path, tuple(filter(None, given.deflated.split("|"))))
    print(f"{made.path}: {made.files} files")
