"""`dwm evaluate`: scores of weights over clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written
from dwm.cli.runs import saved, verb_of

if TYPE_CHECKING:
    from dwm.runs.evaluate import Evaluated


def evaluate(
    records: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[A B]", help="Two records of scores to compare; nothing is generated."),
    ] = None,
    output: flags.Output = Path("output/evaluate"),
    data: flags.Data = None,
    weights: flags.OptionalWeights = None,
    split: Annotated[str | None, typer.Option("--split", help="val (the default), train, mini_val, …")] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            "--scores",
            help="Some of layout_retrieval, prompt_response, town_fid (the default), imagenet_fid, fid, kid, "
            "precision_recall, fvd.",
        ),
    ] = None,
    features: Annotated[
        Path | None, typer.Option("--features", help="Feature files of fid and fvd (`dwm fetch`).")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="opendwm-0, -1, -3, -images, worldlens, front.")
    ] = None,
    clips: Annotated[int | None, typer.Option("--clips", min=1, help="How many clips (16).")] = None,
    frames: flags.Frames = None,
    fps: flags.Fps = None,
    views: flags.Views = None,
    fast: flags.Fast = None,
    steps: flags.Steps = None,
    guidance: flags.Guidance = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Noise of the first clip.")] = None,
    device: flags.OptionalDevice = None,
    dtype: flags.OptionalDtype = None,
    offload: flags.Offload = None,
    key_frames: flags.KeyFrames = False,
    config: flags.Config = None,
    root: flags.Root = None,
    quiet: flags.Quiet = False,
    as_json: flags.Json = False,
) -> None:
    """Generate clips that training never saw and measure them against real ones."""
    hush(quiet or as_json)
    keep(f"nothing of these scores; start it again with the same command (output {output})")
    if records:
        compare(records, quiet, as_json)
        return
    from dwm.runs.evaluate import EvaluationRun
    from dwm.runs.evaluate import evaluate as run_evaluation

    options = {
        "data": data,
        "weights": weights,
        "split": split,
        "protocol": protocol,
        "clips": clips,
        "frames": frames,
        "fps": fps,
        "views": flags.names(views),
        "fast": fast,
        "steps": steps,
        "guidance": guidance,
        "device": device,
        "dtype": dtype and dtype.value,
        "offload": offload,
        "key_frames_only": key_frames or None,
    }
    choices = {"scores": flags.names(scores), "seed": seed, "features": None if features is None else str(features)}
    choices = {key: value for key, value in choices.items() if value is not None}
    if config is not None and verb_of(config) != "evaluate":
        result = training_run(config, options, choices, output, root)
        if result is None:
            return
        finish(_lines(result), {"scores": result.scores.values(), "files": result.files}, quiet, as_json)
        return
    flags.no_root(root)
    run = saved(EvaluationRun, config, options)
    if choices:
        run = saved(EvaluationRun, None, {**run.model_dump(), "scores": {**run.scores.model_dump(), **choices}})
    result = run_evaluation(run, output)
    finish(_lines(result), {"scores": result.scores.values(), "files": result.files}, quiet, as_json)


def compare(records: list[Path], quiet: bool, as_json: bool) -> None:
    """Prints the numbers of two records side by side."""
    if len(records) != 2:
        raise typer.BadParameter(f"two records are compared (folders, or their scores.json), {len(records)} given")
    from dwm.runs.score_record import compare as side_by_side

    numbers = side_by_side(*records)
    width = max(map(len, numbers), default=0)
    lines = [f"{key:{width}}  {a:>12.6g}  {b:>12.6g}" for key, (a, b) in numbers.items()]
    finish([f"{'':{width}}  {records[0]}  {records[1]}", *lines], numbers, quiet, as_json)


def _lines(result: Evaluated) -> list[str]:
    scores = [text for line in result.scores.lines() for text in (f"{line.name}: {line.value}", f"    {line.meaning}")]
    return [*scores, "written:", *written(result.files)]


def training_run(
    config: Path, flags: dict[str, Any], choices: dict[str, Any], output: Path, root: Path | None = None
) -> Evaluated | None:
    """Scores of a training run's published weights over its own validation sets; `choices` changes what is measured.

    Of several processes all but the first get None.
    """
    from dwm.config.files import validated
    from dwm.evaluation.options import EvaluationOptions
    from dwm.opendwm.commands.previews import changed_run
    from dwm.opendwm.commands.scores import score_run
    from dwm.opendwm.runs import check_ready, load_recipe

    clips = flags.pop("clips")
    run = changed_run(load_recipe(config, root), flags, str(config))
    if choices:
        run = run.with_(
            evaluation=validated(EvaluationOptions, {**run.evaluation.model_dump(), **choices}, "command line")
        )
    run = check_ready(run, config)
    return score_run(run, output, clips, source=str(config))
