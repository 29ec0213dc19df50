"""`dwm show`: recipes, the settings of a run, what it will cost, what a clip holds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from dwm.cli import flags
from dwm.cli.output import finish
from dwm.screen import say, without_keys

if TYPE_CHECKING:
    from dwm.config.cost import Estimate
    from dwm.config.lidar_cost import SweepEstimate
    from dwm.networks.cost import Cost


class Dtype(str, Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


app = typer.Typer(
    help="Recipes, the settings of a run, what it will cost, what a clip holds.",
    epilog=flags.example("dwm show recipes", "dwm show config town", "dwm show memory -c runs/town/config.json"),
    no_args_is_help=True,
)
Name = Annotated[str | None, typer.Argument(help="A recipe's name; or give a file with -c.", show_default=False)]


@app.command(epilog=flags.example("dwm show recipes"))
def recipes(as_json: flags.Json = False) -> None:
    """The named recipes and the campaigns made of them, a line each."""
    from dwm.config import recipes as named
    from dwm.config import summary
    from dwm.config.campaign import campaigns
    from dwm.config.lidar_files import lidar_recipes
    from dwm.recipes.tiny import SUFFIX

    lines = {name: summary(maker) for name, maker in {**named(), **lidar_recipes()}.items()}
    several = {name: f"one after another: {', '.join(runs.values())}" for name, runs in campaigns().items()}
    width = max(map(len, (*lines, *several)))
    shown = [f"{name:{width}}  {text}" for name, text in (*lines.items(), *several.items())]
    twins = f"Those of cameras but town's have a twin NAME{SUFFIX}: the same on the town, a small network, a few steps, no files."
    finish([*shown, "", twins], {**lines, **several}, False, as_json)


@app.command(epilog=flags.example("dwm show config town training.optimizer.lr=1e-4"))
def config(
    name: Name = None,
    overrides: flags.Overrides = None,
    config: flags.Config = None,
    as_json: flags.Json = False,
) -> None:
    """Every setting of a run: its value, its meaning with unit, its default. --json prints what -c reads."""
    import json

    from dwm.cli.runs import choose_lidar, choose_training

    run = choose_lidar(name, config, overrides) or choose_training(name, config, overrides)
    from dwm.config import Campaign
    from dwm.config.describe import settings

    if as_json:
        print(without_keys(json.dumps(run.model_dump(mode="json"), indent=1)))
        return
    parts = {f"{stage.name}.": stage.run for stage in run.stages} if isinstance(run, Campaign) else {"": run}
    for setting in (setting for prefix, part in parts.items() for setting in settings(part, prefix)):
        default = "" if setting.is_default else f" (default {_short(setting.default)})"
        say(f"{setting.key} = {_short(setting.value)}{default}", f"    {setting.meaning}", to_result=True)


@app.command(epilog=flags.example("dwm show memory sd35-layout-nuscenes --dtype bfloat16 training.batch.clips=2"))
def memory(
    name: Name = None,
    overrides: flags.Overrides = None,
    config: flags.Config = None,
    dtype: Annotated[Dtype, typer.Option(help="What the network computes in.")] = Dtype.float32,
    as_json: flags.Json = False,
) -> None:
    """Parameters, memory and arithmetic of a step, from the settings alone: nothing is loaded."""
    from dataclasses import asdict

    from dwm.cli.runs import choose_lidar, choose_run

    # Before PyTorch, so that a slip is told at once.
    sweeps = choose_lidar(name, config, overrides)
    run = choose_run(name, config, overrides) if sweeps is None else None
    with _without_collection():
        import torch

        computes_in = getattr(torch, dtype.value)
        if run is None:
            from dwm.config.lidar_cost import sweep_estimate

            assert sweeps is not None
            of_sweeps = sweep_estimate(sweeps, computes_in)
            finish(sweep_lines(of_sweeps), asdict(of_sweeps), False, as_json)
            return
        from dwm.config.cost import estimate

        estimated = estimate(run, computes_in)
    finish(memory_lines(estimated), asdict(estimated), False, as_json)


@app.command(epilog=flags.example("dwm show cost sd35-layout-nuscenes --devices 8,64,1024"))
def cost(
    name: Name = None,
    overrides: flags.Overrides = None,
    devices: Annotated[str, typer.Option("--devices", help="Numbers of devices, comma separated.")] = "8,64",
    rate: Annotated[float, typer.Option("--rate", min=0.001, help="Tflop/s that a device reaches in training.")] = 125,
    link: Annotated[float, typer.Option("--link", min=0.001, help="GB/s that a device sends to others.")] = 25,
    config: flags.Config = None,
    as_json: flags.Json = False,
) -> None:
    """A training step on many devices, on paper: arithmetic, what is sent, data, memory; where it stops scaling."""
    from dataclasses import asdict

    from dwm.cli.runs import choose_lidar, choose_run

    counts = flags.whole_numbers(devices, "--devices")
    run = choose_lidar(name, config, overrides) or choose_run(name, config, overrides)
    with _without_collection():
        from dwm.config.scale import HEAD, Machine, scales

        machine = Machine(rate * 1e12, link * 1e9)
        found = scales(run, counts, machine)
    lines = [machine.line(), HEAD, *(scale.line() for scale in found)]
    finish(lines, {"machine": asdict(machine), "devices": [asdict(scale) for scale in found]}, False, as_json)


def memory_lines(estimated: Estimate) -> list[str]:
    """The estimate for people."""
    shape, total = estimated.shape, sum(estimated.parameters.values())
    parts = ", ".join(
        f"{part} {count / 1e6:.1f}" for part, count in sorted(estimated.parameters.items(), key=lambda p: -p[1])
    )
    base = "not found, not counted" if estimated.base_model is None else f"{_bytes(estimated.base_model)} of files"
    pixels = f"{shape.t} frames × {shape.v} views of {shape.w * shape.factor}×{shape.h * shape.factor}"
    return [
        f"network: {total / 1e6:.1f} M parameters ({parts})",
        f"base model (autoencoder and text encoders): {base}",
        f"training, {shape.b} clips of {pixels}, computing in {estimated.dtype}:",
        *_cost_lines(estimated.training),
        "generation, one sampling step of one clip with guidance:",
        *_cost_lines(estimated.generation),
        "generation of a clip, by what is free on the device:",
        *(card.line() for card in estimated.cards),
    ]


def sweep_lines(estimated: SweepEstimate) -> list[str]:
    """The estimate of a LiDAR run for people."""
    from dwm.config.cost import CARDS

    lines = []
    for stage in estimated.stages:
        rays = f"; depths along rays besides, at most {_bytes(stage.rays)}" if stage.rays else ""
        lines += [
            f"{stage.name}: {stage.parameters / 1e6:.1f} M parameters; training, {stage.clips} clips of {stage.frames} sweeps, "
            f"computing in {estimated.dtype}{rays}:",
            *_cost_lines(stage.training),
        ]
    passed = f"one pass over a window of {estimated.window}" if estimated.window > 1 else "one sweep"
    lines += [f"generation, {passed} of one clip:", *_cost_lines(estimated.generation)]
    return [*lines, "generation of a clip, by what is free on the device:", *map(estimated.card, CARDS)]


@contextmanager
def _without_collection() -> Iterator[None]:
    """A block in which Python looks for no garbage: while PyTorch is imported there is none, and looking is a sixth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _cost_lines(cost: Cost) -> list[str]:
    parts = ("weights", "gradients", "optimizer", "average", "activations")
    shown = ", ".join(f"{part} {_bytes(getattr(cost, part))}" for part in parts if getattr(cost, part))
    return [f"  memory {_bytes(cost.memory)}: {shown}", f"  arithmetic {cost.flops / 1e12:.4g} Tflop"]


def _bytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


@app.command(epilog=flags.example("dwm show clip data/town scene-0061"))
def clip(
    dataset: Annotated[
        str, typer.Argument(help="A data set: a folder, or the folder of its zips.", callback=flags.data_there)
    ],
    scene: Annotated[str | None, typer.Argument(help="A scene; the first by default.", show_default=False)] = None,
    version: Annotated[str | None, typer.Option("--version", help="Version of the tables.")] = None,
    as_json: flags.Json = False,
) -> None:
    """What a scene holds: length, cameras, boxes, map, words."""
    from dataclasses import asdict

    from dwm.runs.clip_facts import clip_facts

    facts = clip_facts(dataset, scene, version)
    finish(list(facts.lines()), asdict(facts), False, as_json)


def _short(value: object) -> str:
    import json

    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "…"
