"""`dwm data`: data sets: archives, index, 12 Hz, captions, pictures to look at, checks."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.data_encode import EXAMPLE, encode
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, note, written


class Grouping(str, Enum):
    by_time = "by_time"
    compat = "compat"


app = typer.Typer(
    help="Data sets: look at one, check it, index it, make zips of tars, 12 Hz tables, caption files.",
    epilog=flags.example(
        "dwm data show scene-0061 --data data/town --at 2 -o look.png",
        "dwm data check data/nuscenes",
        "dwm data zip v1.0-trainval01_blobs.tgz v1.0-trainval01_blobs.zip",
    ),
    no_args_is_help=True,
)
app.command(epilog=flags.example(EXAMPLE))(encode)
DataSet = Annotated[
    str, typer.Argument(metavar="DATA", help="A folder, an archive, or a URL such as s3://bucket/nuscenes.")
]
Version = Annotated[str | None, typer.Option("--version", help="Folder of the tables, such as v1.0-trainval.")]
Split = Annotated[str | None, typer.Option("--split", help="train, val, mini_val, … or a file of scene names.")]


class Draw(str, Enum):
    boxes = "boxes"
    map = "map"
    lidar = "lidar"
    birdseye = "birdseye"


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
        if not 0 <= seconds < 1e9:
            raise ValueError(text)
        return seconds
    except ValueError as error:
        raise typer.BadParameter(f"--at {text}: expected seconds since the scene's start, for example 3.2") from error


@app.command(epilog=flags.example("dwm data show scene-0061 --data data/town --at 3.2 -o look.mp4"))
def show(
    scene: Annotated[str, typer.Argument(help="A scene's name.")],
    data: Annotated[str, typer.Option("--data", help="A folder, an archive, or a URL.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A .png of one frame; an .mp4, .gif or .rrd (Rerun) of several.",
            callback=flags.local_path,
        ),
    ],
    at: Annotated[str, typer.Option("--at", help="Seconds since the scene's start.")] = "0",
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=1e5, help="Length of a film; shorter where the scene ends.")
    ] = 4.0,
    fps: flags.Fps = None,
    views: flags.Views = None,
    without: Annotated[list[Draw] | None, typer.Option("--without", help="What not to draw; may be repeated.")] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Darken all but where annotated things stand.")
    ] = False,
    width: Annotated[
        int, typer.Option("--width", min=64, max=4096, help="Pixels of one camera's picture across.")
    ] = 448,
    edits: flags.Edits = None,
    version: Version = None,
    key_frames: flags.KeyFrames = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Draw a scene: cameras with boxes, map and LiDAR, and the view from above beside them; above its edited self with --edits."""
    hush(quiet or as_json)
    keep(f"nothing was written to {output}")
    from dwm.data import LookOptions, ReadOptions, look_at, open_dataset
    from dwm.data.overview import look_at_both
    from dwm.data.recording import save_recording
    from dwm.errors import DwmError
    from dwm.report.film import WRITERS, Film
    from dwm.runs.edits import edited, read_edits
    from dwm.storage import check_file

    check_file(output)
    edit_list = None if edits is None else read_edits(edits)
    if (ending := output.suffix.lower()) not in (*WRITERS, ".rrd"):
        raise DwmError(f"{output}: ends in {ending or 'nothing'}; end its name in {', '.join(WRITERS)} or .rrd")
    if foreground and ending == ".rrd":
        raise DwmError(
            f"{output}: recordings for Rerun hold photographs as they are; leave out --foreground, or write a film"
        )
    left_out = {item.value for item in without or ()}
    look = LookOptions(tile_width=width, foreground=foreground, **dict.fromkeys(left_out, False))
    options = ReadOptions(maps=look.map or edit_list is not None, missing_captions="empty", key_frames_only=key_frames)
    dataset = open_dataset(data, version, options=options)
    chosen = dataset[scene]
    start, rate = _seconds(at), fps or min(12.0, chosen.rate or 1.0)
    frames = 1 if output.suffix.lower() == ".png" else max(1, int(min(seconds, chosen.seconds - start) * rate) + 1)
    clip = chosen.clip(start, frames, rate, flags.names(views))
    if look.boxes and not any(boxes for row in clip.boxes or () for boxes in row if boxes is not None):
        note(f"{scene}: no boxes are annotated before and after {start:g} s", quiet or as_json)
    other = clip if edit_list is None else edited(clip, edit_list)
    if output.suffix.lower() == ".rrd":
        if other is not clip:
            note(f"{output}: holds the edited clip alone; a .png or .mp4 shows both", quiet or as_json)
        save_recording(other, output, look)
    else:
        Film(look_at(clip, look) if other is clip else look_at_both(clip, other, look), rate).save(output)
    finish(
        [dataset.describe(), f"{scene} from {start:g} s, {frames} frames:", *written([output])],
        {"file": output, "frames": frames},
        quiet,
        as_json,
    )


@app.command(epilog=flags.example("dwm data check data/nuscenes", "dwm data check data/nuscenes --files --json"))
def check(
    data: DataSet,
    version: Version = None,
    files: Annotated[bool, typer.Option("--files", help="Decode every picture and sweep too.")] = False,
    key_frames: flags.KeyFrames = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Walk a data set and say what is broken. Leaves with status 3 where something is."""
    hush(quiet or as_json)
    from dataclasses import asdict

    from dwm.data.open import check_dataset
    from dwm.errors import CheckFailed

    report = check_dataset(data, version, files, key_frames)
    lines = [f"{report.format or report.version}: {report.scenes} scenes, {report.frames} frames, {report.boxes} boxes"]
    width = max((len(one.kind) for one in report.findings), default=0)
    lines.extend(
        f"{'×' if one.is_fault else ' '} {one.kind:{width}}  {one.count:>8}  {one.example}" for one in report.findings
    )
    finish([*lines, *([] if report.faults else ["no faults"])], asdict(report), quiet, as_json)
    if report.faults:
        raise CheckFailed(
            f"{data}: {len(report.faults)} kinds of faults ({', '.join(one.kind for one in report.faults[:4])})"
        )


@app.command("zip", epilog=flags.example("dwm data zip v1.0-trainval01_blobs.tgz v1.0-trainval01_blobs.zip --verify"))
def zip_(
    source: Annotated[
        Path, typer.Argument(metavar="IN.tgz", help="A tar, packed or plain.", callback=flags.local_path)
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT.zip", help="The zip to write; it appears when it is whole.", callback=flags.local_path
        ),
    ],
    verify: Annotated[bool, typer.Option("--verify", help="Read the zip again and compare checksums.")] = False,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Keep what is whole of a damaged tar or zip; leaves with status 3.")
    ] = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Stream a tar into a zip that can be read without unpacking: pictures stored, tables and points deflated."""
    hush(quiet or as_json)
    keep(f"nothing was written to {target}; run the command again")
    from dataclasses import asdict

    from dwm.errors import CheckFailed
    from dwm.storage import zip_tar

    archive = zip_tar(source, target, verify=verify, salvage=salvage)
    checked = ", each read back and compared" if verify else ""
    finish([f"{archive.files} files{checked}:", *written([archive.path])], asdict(archive), quiet, as_json)
    if archive.missing:
        raise CheckFailed(f"{source}: {archive.missing}; {target} holds what is whole, fetch the rest again")


@app.command(epilog=flags.example("dwm data index data/nuscenes --version v1.0-trainval"))
def index(data: DataSet, version: Version = None, quiet: flags.Quiet = False, as_json: flags.Json = False) -> None:
    """Read the tables once and keep them as an index that opens at once; done by itself at the first use."""
    hush(quiet or as_json)
    keep("the index is not complete; it is built at the next use")
    import time
    from dataclasses import asdict

    from dwm.data.open import index_dataset

    started = time.monotonic()
    index = index_dataset(data, version)
    values = asdict(index) | {"seconds": round(time.monotonic() - started, 3)}
    values["place"] = values.pop("folder")
    summary = "{format}: {scenes} scenes, {frames} frames, {boxes} boxes; opened in {seconds} s".format(**values)
    finish([summary, *(written([index.folder]) if index.folder else [])], values, quiet, as_json)


@app.command(epilog=flags.example("dwm data interpolate data/nuscenes --version v1.0-trainval"))
def interpolate(
    data: DataSet,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder to put interp_12Hz_trainval into; default: DATA.", callback=flags.local_path
        ),
    ] = None,
    version: Version = None,
    split: Split = None,
    grouping: Annotated[
        Grouping, typer.Option(help="by_time: nearest frames; compat: by count, as the published tables.")
    ] = Grouping.by_time,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Where sweeps are missing, show the same picture several times.")
    ] = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Make the 12 Hz tables from key frames: a box on every frame, between two key frames by interpolation."""
    hush(quiet or as_json)
    from dataclasses import asdict

    from dwm.data.nuscenes.dataset import choose_version
    from dwm.data.nuscenes.interpolate import NAME
    from dwm.data.nuscenes.interpolate import interpolate as run
    from dwm.errors import DwmError
    from dwm.storage import check_folder, open_tree

    if output is None and not Path(data).is_dir():
        raise DwmError(f"{data}: is no folder to write into; name one with --output")
    folder = check_folder((output or Path(data)) / NAME, empty=True)
    keep(f"nothing was written to {folder}; run the command again")
    tree = open_tree(data)
    result = run(tree, choose_version(tree, version, recorded=True), folder, grouping.value, split, repeat)
    gaps = ", ".join(f"{count} with {sweeps}" for sweeps, count in result.gaps.items())
    lines = [
        f"{result.scenes} scenes, {result.samples} samples, {result.frames} frames, {result.boxes} boxes:",
        *written([result.folder]),
        f"gaps of the front camera by their sweeps: {gaps}; pictures shown twice: {result.repeated}",
        "largest distance of a file's time from its sample's (ms): "
        + ", ".join(f"{channel} {lag:.0f}" for channel, lag in result.lag.items()),
    ]
    finish(lines, asdict(result), quiet, as_json)


@app.command(epilog=flags.example("dwm data captions words.csv --data data/nuscenes"))
def captions(
    table: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet: scene, camera, at (s), weather, text, …")],
    data: Annotated[str, typer.Option("--data", help="The data set that the table speaks of.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for the two files; default: the data set's.", callback=flags.local_path
        ),
    ] = None,
    version: Version = None,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Make the two caption files of a data set from a table of your own."""
    hush(quiet or as_json)
    keep("nothing was written; run the command again")
    from dataclasses import asdict

    from dwm.data import ReadOptions, open_dataset
    from dwm.data.caption_table import CaptionedDataset, make_caption_files
    from dwm.errors import DwmError

    if output is None and not Path(data).is_dir():
        raise DwmError(f"{data}: is no folder to write into; name one with --output")
    dataset = open_dataset(data, version, None, ReadOptions(maps=False, missing_captions="empty"))
    if not isinstance(dataset, CaptionedDataset):
        raise DwmError(f"{dataset.describe()}: says its captions itself; a data set in files takes a table of them")
    result = make_caption_files(table, dataset, output or Path(data))
    lines = [
        dataset.describe(),
        f"{result.rows} rows became {result.entries} captions:",
        *written(result.files),
    ]
    lines += (
        [f"{result.without} cameras of scenes have none; read with missing_captions=empty"] if result.without else []
    )
    others = sorted(path.name for path in Path(data).glob("nuscenes_*_caption_v2_*.json")) if output is None else []
    if others:
        lines.append(f"they are read in the place of {', '.join(others)}; --output writes them elsewhere")
    finish(lines, asdict(result), quiet, as_json)


class Target(str, Enum):
    package = "package"
    nuscenes = "nuscenes"


@app.command(epilog=flags.example("dwm data convert data/nuscenes -o mini.zip --split mini_val"))
def convert(
    data: DataSet,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write, or a .zip.", callback=flags.local_path)
    ],
    to: Annotated[Target, typer.Option("--to", help="What to make.")] = Target.package,
    files: Annotated[bool, typer.Option("--files/--no-files", help="Whether pictures and sweeps come along.")] = True,
    version: Version = None,
    split: Split = None,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Turn a data set into a scene package (Parquet tables and pictures), or into nuScenes."""
    hush(quiet or as_json)
    keep(f"nothing was written to {output}; run the command again")
    from dataclasses import asdict

    from dwm.data.open import open_scene_tables
    from dwm.data.package.convert import to_nuscenes, to_package
    from dwm.errors import DwmError

    if to is Target.nuscenes and split is not None:
        raise DwmError(f"--split {split}: a package is turned into nuScenes whole; leave it out")
    source = open_scene_tables(data, version if to is Target.package else None)
    if to is Target.package:
        conversion = to_package(source, output, split, files)
    else:
        conversion = to_nuscenes(source, output, version or "v1.0-mini", files=files)
    counts = (
        f"{conversion.scenes} scenes, {conversion.frames} frames, {conversion.boxes} boxes, {conversion.files} files:"
    )
    kind = f"{source.tree.where}: {source.title}"
    finish([kind, counts, *written([conversion.path])], asdict(conversion), quiet, as_json)
