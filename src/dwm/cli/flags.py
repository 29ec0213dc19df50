"""The flags that several verbs share: one name, one unit, one meaning everywhere."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from dwm.errors import DwmError


def example(*lines: str) -> str:
    """The closing lines of a verb's --help."""
    return "\b\nFor example:\n" + "\n".join(f"  {line}" for line in lines)


def by_flag(options: dict[str, Any]) -> dict[str, Any]:
    """The same by the names that the user typed."""
    return {flag_name(name): value for name, value in options.items()}


def flag_name(option: str) -> str:
    return option.replace("_", "-").removesuffix("-only")


def size(text: str | None) -> tuple[int, int] | None:
    """`448x256` as (width, height) in pixels."""
    if text is None:
        return None
    width, cross, height = text.lower().replace("×", "x").partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise typer.BadParameter(f"--size {text}: expected WIDTHxHEIGHT in pixels, for example 448x256")
    return int(width), int(height)


def part(text: str | None) -> tuple[int, int] | None:
    """`2/8` as (2, 8): the second job of eight."""
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise typer.BadParameter(f"--part {text}: expected I/N with I from 1 to N, for example 2/8")
    return int(number), int(count)


def names(text: str | None) -> tuple[str, ...] | None:
    """`a,b,c` as a tuple."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def local_path(path: Path | None) -> Path | None:
    """Refuses a URL, which would become a folder called s3: in the working directory."""
    if path is not None and (match := URL.match(str(path))):
        raise typer.BadParameter(f"{match[1]}:// cannot be written to; name a folder or file of this machine")
    return path


DRAWN = re.compile(r"[a-z][a-z0-9-]*:(?!/)[a-z]+=")


def data_there(data: str | None) -> str | None:
    """Refuses a data set that is not there before the libraries are imported that would read it: they take seconds.

    What is drawn (`town:seed=7`) has no path."""
    if data is not None and not DRAWN.match(data):
        from dwm.storage.tree import require

        require(data)
    return data


def weights_there(weights: str | None) -> str | None:
    """The same for weights."""
    if weights is not None and not Path(weights).exists():
        from dwm.checkpoints.locations import resolve

        resolve(weights)
    return weights


URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", callback=local_path)]
OptionalOutput = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder to write into.", callback=local_path)
]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="A saved run, or a config of OpenDWM (JSON).")]
Data = Annotated[
    str | None,
    typer.Option("--data", help="A data set: a folder, archive or s3://… URL.", callback=data_there),
]
KeyFrames = Annotated[bool, typer.Option("--key-frames", help="Only key frames, where sweeps are not there.")]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder of data/, base_model/, pretrained/."),
]


def no_root(root: Path | None) -> None:
    """Refuses --root where no config names files that could lie below it."""
    if root is not None:
        raise typer.BadParameter(
            "--root is for the files that a training run's config (-c) names; give --data, --weights"
        )


Weights = Annotated[str, typer.Option("--weights", help="A folder of weights, or `town` for the built-in ones.")]
OptionalWeights = Annotated[
    str | None, typer.Option("--weights", help="A folder, or `town` (the default).", callback=weights_there)
]
# Weights name their base model themselves, and a screen is full of what is asked for more often.
BaseModel = Annotated[
    Path | None,
    typer.Option("--base-model", help="The base model's folder, where it is not as the weights say.", hidden=True),
]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same result.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or npu.")]


Edits = Annotated[Path | None, typer.Option("--edits", help="A JSON file of edits: docs/generation.md.")]


OptionalDevice = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or npu.")]
Force = Annotated[bool, typer.Option("--force", help="Try what the weights never saw.")]
Time = Annotated[str | None, typer.Option("--time", help="Its captions' time of day.")]
Weather = Annotated[str | None, typer.Option("--weather", help="Its captions' weather.")]
Remove = Annotated[list[str] | None, typer.Option("--remove", help="Boxes to leave out; may repeat.")]


class Dtype(str, Enum):
    """What weights are held and computed in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Offload = Annotated[
    bool | None,
    typer.Option("--offload/--no-offload", help="Weights wait off the device; default: auto."),
]
OptionalDtype = Annotated[
    Dtype | None,
    typer.Option("--dtype", metavar="<dtype>", help="auto (fastest), float32, bfloat16, float16."),
]
Sensors = Annotated[str | None, typer.Option("--sensors", help="cameras,lidar: sweeps too; cameras by default.")]
LidarWeights = Annotated[
    str | None, typer.Option("--lidar-weights", help="Of a LiDAR run; `town_lidar` by default.", hidden=True)
]
Views = Annotated[str | None, typer.Option("--views", help="Cameras, comma separated.")]
Frames = Annotated[int | None, typer.Option("--frames", min=1, help="Frames of a clip.")]
Fps = Annotated[float | None, typer.Option("--fps", min=0.1, max=1000, help="Frames a second.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Sampling steps.")]
Guidance = Annotated[float | None, typer.Option("--guidance", min=0, help="How closely to follow conditions.")]
GuidanceInterval = Annotated[
    str | None,
    typer.Option("--guidance-interval", metavar="A:B", help="Share of the steps with guidance.", hidden=True),
]
Cache = Annotated[
    float | None, typer.Option("--cache", metavar="0.15", min=0, max=1, help="Skip blocks where little changes.")
]
Fast = Annotated[bool | None, typer.Option("--fast/--no-fast", help="The network for few steps.")]
Size = Annotated[str | None, typer.Option("--size", help="WIDTHxHEIGHT of a picture, in pixels.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no closing lines.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")]


def interval(text: str | None) -> tuple[float, float] | None:
    """`0.2:0.8` as two numbers. Raises DwmError for anything else."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(":")]
    if len(parts) != 2 or not all(re.fullmatch(r"[01]?\.?[0-9]{0,6}", part) and part.strip(".") for part in parts):
        raise DwmError(f"--guidance-interval {text[:40]}: is no part of the steps; give for example 0.2:0.8")
    begin, end = map(float, parts)
    if not 0 <= begin < end <= 1:
        raise DwmError(f"--guidance-interval {text[:40]}: is no part of 0:1; give for example 0.2:0.8")
    return begin, end


def whole_numbers(text: str, flag: str) -> list[int]:
    """Comma separated numbers from 1 on. Raises DwmError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[1-9][0-9]{0,6}", part) for part in parts):
        raise DwmError(f"{flag} {text[:40]}: is no list of numbers; give for example {flag} 8,64,1024")
    return [int(part) for part in parts]
