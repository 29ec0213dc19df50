"""`dwm convert`: configs and weights of OpenDWM as ours."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush
from dwm.errors import DwmError

app = typer.Typer(
    help="Turn configs and weights of OpenDWM into ours.",
    epilog=flags.example(
        "dwm convert config ctsd_35_tirda_bm_nusc_a.json -o runs/mine.json",
        "dwm convert weights pretrained/ctsd_35_tirda_nwao_20k.pth -o weights/nwao",
    ),
    no_args_is_help=True,
)


@app.command(epilog=flags.example("dwm convert config ctsd_35_tirda_bm_nusc_a.json -o runs/mine.json"))
def config(
    file: Annotated[Path, typer.Argument(help="A JSON config of OpenDWM.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", callback=flags.local_path)],
    root: flags.Root = None,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Translate a config; every key that has no counterpart here is listed with its reason."""
    hush(quiet or as_json)
    keep(f"nothing was written to {output}")
    from dataclasses import asdict

    from dwm.config import Recipe, save
    from dwm.config.lidar import LidarRecipe
    from dwm.opendwm.commands.example_runs import ExampleRun
    from dwm.opendwm.runs import LIDAR_ODDITIES, ODDITIES, convert
    from dwm.storage import check_file

    check_file(output)
    conversion = convert(file, root)
    path = save(conversion.run, output.parent, output.name)
    translation = conversion.translation
    lines = [f"{item.path}: left out; {item.reason}" for item in translation.ignored]
    lines += [f"note: {note}" for note in translation.notes]
    if isinstance(conversion.run, Recipe | ExampleRun | LidarRecipe):
        key = "run.compatibility" if isinstance(conversion.run, ExampleRun) else "compatibility"
        lines += [f"{key} is reference, which keeps OpenDWM's oddities; set it to ours in {path} to leave them:"]
        oddities = LIDAR_ODDITIES if isinstance(conversion.run, LidarRecipe) else ODDITIES
        lines += [f"  {oddity}" for oddity in oddities]
        lines += [f"written: {path}", f"look at it: dwm show config -c {path}"]
    else:
        lines += [f"written: {path}"]
    values = {
        "output": path,
        "kind": translation.kind,
        "ignored": [asdict(item) for item in translation.ignored],
        "notes": translation.notes,
    }
    finish(lines, values, quiet, as_json)


class Dtype(str, Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@app.command(
    epilog=flags.example(
        "dwm convert weights pretrained/ctsd_35_tirda_nwao_20k.pth -o weights/nwao",
        "dwm convert weights mine.pth -c mine.json --dtype bfloat16 -o weights/mine",
        "dwm convert weights weights/nwao/transformer -o nwao.safetensors",
        "dwm convert weights runs/mine/driving/checkpoints/0005000 -o weights/mine",
    )
)
def weights(
    file: Annotated[Path, typer.Argument(help="A .pth, a .safetensors, a folder of these, or a training run's save.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder to write; a name in .safetensors: one file.", callback=flags.local_path
        ),
    ],
    config: flags.Config = None,
    name: Annotated[
        str | None, typer.Option("--as", help="A recipe, or published weights that these are like.")
    ] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Numbers to store; as they are by default.")] = None,
    base: Annotated[
        bool, typer.Option("--base", help="Plain SD 3, SD 3.5 or SD 2.1: new blocks get starting values.")
    ] = False,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Check weights strictly against their network and write a folder (safetensors in parts, config, card), or one file.

    The network is that of the config (-c), of published weights (--as), of a save's own run, or is known by the file's name.
    """
    hush(quiet or as_json)
    keep(f"nothing was written to {output}")
    import torch

    from dwm.opendwm.commands.convert_weights import convert_weights, is_save, run_of_save, write_file

    if config is not None and name is not None:
        raise DwmError(f"give either -c {config} or --as {name}, not both: each says which network it is")
    if output.suffix == ".safetensors" and (config is not None or name is not None or base):
        raise DwmError(
            f"{output}: one file of tensors is written as they are; -c, --as and --base need a folder for --output"
        )
    numbers = None if dtype is None else getattr(torch, dtype.value)
    if output.suffix == ".safetensors":
        count = write_file(file, output, numbers)
        finish([f"{count} tensors written: {output}"], {"output": output, "tensors": count}, quiet, as_json)
        return
    from dwm.opendwm.known_weights import known_run
    from dwm.opendwm.runs import lidar_run, load_recipe

    if config is not None and (lidar := lidar_run(config)) is not None:
        from dwm.opendwm.lidar_weights import convert_lidar_weights

        path, count = convert_lidar_weights(file, output, lidar, numbers, str(config))
        finish([f"{count} tensors written: {path}"], {"output": path, "tensors": count}, quiet, as_json)
        return
    if config is not None:
        run = load_recipe(config)
    else:
        run = run_of_save(file) if is_save(file) and name is None else known_run(file, name)
    report = convert_weights(file, output, run, numbers, base=base)
    lines = [f"{file}: {report}", f"written: {output}", f"try them: dwm generate --weights {output} --data …"]
    values = {"output": output, "tensors": report.loaded, "new": report.new, "renamed": report.renamed}
    finish(lines, values, quiet, as_json)
