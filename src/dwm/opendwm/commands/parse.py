"""OpenDWM's commands with the flags that its users type; each parses and calls one function."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dwm.config import Recipe

from dwm.errors import CheckFailed
from dwm.screen import say


def _parser(what: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("-c", "--config-path", type=Path, required=True, help="a JSON config, OpenDWM's or ours")
    parser.add_argument(
        "--root",
        type=Path,
        default=None,
        help="folder that holds data/, base_model/ and pretrained/: its files lie there",
    )
    return parser


def _run(arguments: argparse.Namespace) -> Recipe:
    """The run whose held-out clips are generated; with other weights than its own, those are not asked for."""
    from dwm.opendwm.runs import check_ready, load_recipe

    run = load_recipe(arguments.config_path, arguments.root)
    if arguments.tiny:
        return run
    own = run if arguments.resume_from is None else run.with_(weights=None)
    check_ready(own, arguments.config_path)
    return run


def generation_example() -> None:
    """`examples/ctsd_generation_example.py`"""
    parser = _parser("Generate the inputs of an example.")
    parser.add_argument("-o", "--output-path", type=Path, required=True, help="folder for the pictures or videos")
    parser.add_argument("-r", "--repeat", type=int, default=1, help="runs of each input, after a warm-up")
    parser.add_argument("--tiny", action="store_true", help="the built-in weights instead of the published ones")
    arguments = parser.parse_args()

    from dwm.opendwm.commands.examples import read_example, run_example
    from dwm.opendwm.runs import check_ready

    example = read_example(arguments.config_path, arguments.root)
    if not arguments.tiny:
        check_ready(example.run, arguments.config_path)
    run_example(example, arguments.output_path, max(1, arguments.repeat), arguments.tiny, str(arguments.config_path))
    say(f"written: {arguments.output_path}", to_result=True)


def preview() -> None:
    """`src/dwm/preview.py`"""
    parser = _parser("Generate the validation set of a config, as previews.")
    parser.add_argument("-o", "--output-path", type=Path, required=True, help="folder; previews go into preview/ there")
    parser.add_argument("-pc", "--preview-config-path", type=Path, help="JSON: what is done to the captions")
    # OpenDWM's flag takes a text, of which any means yes.
    parser.add_argument("-eic", "--export-item-config", nargs="?", const="true", default="", help="write what was told")
    parser.add_argument("--count", type=int, default=None, help="so many previews at most")
    parser.add_argument("--resume-from", type=int, default=None, help="step of a save in the output folder")
    parser.add_argument("--tiny", action="store_true", help="the built-in weights instead of the published ones")
    arguments = parser.parse_args()

    from dwm.opendwm.commands.previews import Preview, read_preview_config, run_previews
    from dwm.opendwm.commands.scores import at_step
    from dwm.opendwm.runs import lidar_run

    if (sweeps := lidar_run(arguments.config_path, arguments.root)) is not None:
        from dwm.opendwm.commands.lidar import preview_lidar

        preview_lidar(sweeps, arguments.config_path, arguments.output_path, arguments.count)
        say(f"written: {arguments.output_path / 'preview'}", to_result=True)
        return
    text = read_preview_config(arguments.preview_config_path)
    how = Preview(text, arguments.tiny, bool(arguments.export_item_config), arguments.count)
    run = at_step(_run(arguments), arguments.output_path, arguments.resume_from)
    run_previews(run, arguments.output_path, how, str(arguments.config_path))
    say(f"written: {arguments.output_path / 'preview'}", to_result=True)


def evaluate() -> None:
    """`src/dwm/evaluate.py`"""
    parser = _parser("Score a run on its validation set.")
    parser.add_argument("-o", "--output-path", type=Path, required=True)
    parser.add_argument("--resume-from", type=int, default=None, help="step of a save in the output folder")
    parser.add_argument("--clips", type=int, default=None, help="so many clips at most")
    parser.add_argument("--tiny", action="store_true", help="the built-in weights instead of the published ones")
    arguments = parser.parse_args()

    from dwm.opendwm.commands.scores import at_step, score_run
    from dwm.opendwm.runs import lidar_run

    if (sweeps := lidar_run(arguments.config_path, arguments.root)) is not None:
        from dwm.opendwm.commands.lidar import score_lidar

        scored = score_lidar(sweeps, arguments.config_path, arguments.output_path, arguments.clips)
        for line in () if scored is None else scored.result.lines():
            say(line, to_result=True)
        return
    run = at_step(_run(arguments), arguments.output_path, arguments.resume_from)
    output = arguments.output_path / "evaluation"  # the folder above may be that of the training run
    result = score_run(run, output, arguments.clips, arguments.tiny, str(arguments.config_path))
    if result is None:  # of several processes the first one scores
        return
    for line in result.scores.lines():
        say(f"{line.name}: {line.value}", to_result=True)
    say(f"written: {output}", to_result=True)


def train() -> None:
    """`src/dwm/train.py`"""
    from dwm.opendwm.commands.training import Flags, train_config
    from dwm.opendwm.runs import lidar_run

    parser, usual = _parser("Train a run."), Flags()
    parser.add_argument("-o", "--output-path", type=Path, help="folder of the run; none: the config's output_path")
    parser.add_argument(
        "--steps", type=int, default=usual.steps, help="end after so many; none: the config's train_epochs"
    )
    parser.add_argument("--log-steps", type=int, default=usual.log_steps, help="steps between lines of the log")
    parser.add_argument("--preview-steps", type=int, default=usual.preview_steps, help="steps between previews")
    parser.add_argument(
        "--checkpointing-steps", type=int, default=usual.checkpointing_steps, help="steps between saves"
    )
    parser.add_argument("--evaluation-steps", type=int, default=usual.evaluation_steps, help="0: none")
    parser.add_argument("--resume-from", type=int, default=None, help="the step of the last save")
    parser.add_argument("--wandb", action="store_true", help="curves to Weights & Biases")
    parser.add_argument("--wandb-project", default=usual.wandb_project)
    parser.add_argument("--wandb-run-name", default=usual.wandb_run_name)
    arguments = vars(parser.parse_args())
    path, output, root = (arguments.pop(name) for name in ("config_path", "output_path", "root"))
    if (sweeps := lidar_run(path, root)) is not None:
        from dwm.opendwm.commands.lidar import train_lidar_config

        processes = int(os.environ.get("WORLD_SIZE", "1"))
        folder = train_lidar_config(sweeps, path, output, Flags(**arguments), processes)
        say(f"written: {folder}", to_result=True)
        return
    say(f"written: {train_config(path, output, Flags(**arguments), root)}", to_result=True)


def export_packages() -> None:
    """`src/dwm/tools/export_nusc_2_preview_format.py`"""
    parser = _parser("Write the validation clips of a config as layout packages.")
    parser.add_argument("-o", "--output-path", type=Path, required=True, help="folder of the packages")
    parser.add_argument("--reference-frame-count", type=int, default=0, help="first frames that keep their photographs")
    parser.add_argument("--count", type=int, default=None, help="so many packages at most")
    arguments = parser.parse_args()

    from dwm.opendwm.commands.layout_export import export_packages as export
    from dwm.opendwm.runs import ready_recipe

    run = ready_recipe(arguments.config_path, arguments.root, networks=False)
    for path in export(run, arguments.output_path, arguments.reference_frame_count, arguments.count):
        say(path, to_result=True)


def export_generated() -> None:
    """`src/dwm/export_generation_result_as_nuscenes_data.py`"""
    parser = _parser(
        "Generate the validation set of a config, each picture in the place of the photograph that it stands for."
    )
    parser.add_argument("-o", "--output-path", type=Path, required=True, help="a new folder")
    parser.add_argument("--count", type=int, default=None, help="so many clips at most")
    parser.add_argument("--tiny", action="store_true", help="the built-in weights instead of the published ones")
    arguments = parser.parse_args()
    arguments.resume_from = None

    from dwm.opendwm.commands.generated_export import export_generated as export

    result = export(_run(arguments), arguments.output_path, arguments.count, arguments.tiny, str(arguments.config_path))
    say(f"{arguments.output_path}: {result} pictures", to_result=True)


def archive_info() -> None:
    """`src/dwm/tools/fs_make_info_json.py`"""
    parser = argparse.ArgumentParser(description="Write where each member of an archive lies, as JSON.")
    parser.add_argument("-i", "--input-path", required=True, help="a .zip or plain .tar")
    parser.add_argument("-o", "--output-path", type=Path, required=True, help="the JSON file")
    parser.add_argument("-fs", "--fs-config-path", type=Path, default=None, help="OpenDWM's JSON of where -i lies")
    arguments = parser.parse_args()

    from dwm.opendwm.commands.info_json import below, write_archive_info

    source, endpoint = below(arguments.fs_config_path, arguments.input_path)
    say(
        f"{arguments.output_path}: {write_archive_info(source, arguments.output_path, endpoint)} members",
        to_result=True,
    )


def dataset_info() -> None:
    """`src/dwm/tools/dataset_make_info_json.py`"""
    parser = argparse.ArgumentParser(
        description="Write where the archives or records of a data set have what, as JSON."
    )
    parser.add_argument("-dt", "--dataset-type", choices=("nuscenes", "waymo", "argoverse"), required=True)
    parser.add_argument("-s", "--split", default="", help="only archives whose names hold this")
    parser.add_argument("-i", "--input-path", required=True, help="folder of the archives or records")
    parser.add_argument(
        "-o", "--output-path", type=Path, required=True, help="folder of the JSON files; waymo: the file"
    )
    parser.add_argument("-fs", "--fs-config-path", type=Path, default=None, help="OpenDWM's JSON of where -i lies")
    arguments = parser.parse_args()

    from dwm.opendwm.commands.info_json import below, write_dataset_info, write_waymo_info

    source, endpoint = below(arguments.fs_config_path, arguments.input_path)
    if arguments.dataset_type == "waymo":
        count = write_waymo_info(source, arguments.output_path, arguments.split, endpoint)
        say(f"{arguments.output_path}: {count} scenes", to_result=True)
        return
    for path in write_dataset_info(source, arguments.output_path, arguments.split, endpoint):
        say(path, to_result=True)


def tar_to_zip() -> None:
    """`src/dwm/tools/tar2zip.py`"""
    parser = argparse.ArgumentParser(description="Turn a tar archive into a zip that is read in place.")
    parser.add_argument("-i", "--input-path", type=Path, required=True)
    parser.add_argument("-o", "--output-path", type=Path, required=True)
    parser.add_argument(
        "-e",
        "--extensions-to-compress",
        default=".bin|.json|.pcd|.txt",
        help="endings that are compressed, split by | (or :); others are stored",
    )
    parser.add_argument("--verify", action="store_true", help="read the zip again and compare checksums")
    parser.add_argument("--salvage", action="store_true", help="keep what is whole of a damaged archive; status 3")
    arguments = parser.parse_args()

    from dwm.storage import zip_tar

    endings = tuple(filter(None, re.split(r"[|:]", arguments.extensions_to_compress)))
    archive = zip_tar(arguments.input_path, arguments.output_path, endings, arguments.verify, arguments.salvage)
    say(f"{archive.path}: {archive.files} files", to_result=True)
    if archive.missing:
        raise CheckFailed(
            f"{arguments.input_path}: {archive.missing}; {archive.path} holds what is whole, fetch the rest again"
        )


def transcode_video() -> None:
    """`src/dwm/tools/transcode_video.py`"""
    parser = argparse.ArgumentParser(description="Write the films of a folder anew, at another rate, size or quality.")
    parser.add_argument("-c", "--config-path", type=Path, required=True, help="JSON: ffmpeg_args, and maybe reformat")
    parser.add_argument("-i", "--input-path", required=True, help="folder (or archive, or URL) of the films")
    parser.add_argument("-o", "--output-path", type=Path, required=True, help="folder of what is written")
    parser.add_argument("-f", "--from", type=int, default=0, dest="first", help="number of the first film, from 0")
    parser.add_argument(
        "-t", "--to", type=int, default=-1, dest="end", help="number of the film to end before; -1: none"
    )
    arguments = parser.parse_args()

    from dwm.opendwm.commands.transcode import transcode_folder

    films, failed = transcode_folder(
        arguments.config_path, arguments.input_path, arguments.output_path, arguments.first, arguments.end
    )
    for path in films:
        say(path, to_result=True)
    if failed:
        raise CheckFailed(f"{len(failed)} films could not be written: {failed[0]}")


def opendv_captions() -> None:
    """`src/dwm/tools/prepare_opendv.py`"""
    parser = argparse.ArgumentParser(description="Write the caption file of OpenDV from its public annotations.")
    parser.add_argument("--meta-path", type=Path, required=True, help="OpenDV-YouTube.json")
    parser.add_argument(
        "-a", "--annotation-path", type=Path, nargs="+", required=True, help="JSON lists of {cmd, blip, folder, …}"
    )
    parser.add_argument("-o", "--output-path", type=Path, required=True, help="the caption file")
    parser.add_argument("--video-path", default=None, help="folder of the videos, for their endings; none: .mp4")
    arguments = parser.parse_args()

    from dwm.opendwm.commands.opendv_captions import write_opendv_captions

    count = write_opendv_captions(
        arguments.meta_path, arguments.annotation_path, arguments.output_path, arguments.video_path
    )
    say(f"{arguments.output_path}: {count} captions", to_result=True)
