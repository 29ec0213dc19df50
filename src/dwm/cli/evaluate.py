"""`dwm evaluate`: scores of weights over clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dwm.cli import flags
from dwm.cli.interrupt import keep
from dwm.cli.output import finish, hush, written
from dwm.cli.runs import choose_lidar, saved, verb_of

if TYPE_CHECKING:
    from dwm.config.lidar import LidarRecipe
    from dwm.runs.evaluate import Evaluated, EvaluationRun


def evaluate(
    records: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[A B]", help="Two records of scores, or two folders of weights, to compare."),
    ] = None,
    output: flags.Output = Path("output/evaluate"),
    data: flags.Data = None,
    weights: flags.OptionalWeights = None,
    base_model: flags.BaseModel = None,
    split: Annotated[str | None, typer.Option("--split", help="val (the default), train, mini_val, …")] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            "--scores",
            help="Some of layout_retrieval, prompt_response, box_pixels, view_agreement, warp_error (the default), "
            "weather_response, town_fid, imagenet_fid, fid, kid, precision_recall, fvd.",
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
    keep(f"the clips that are done; the same command goes on (output {output})")
    from dwm.runs.evaluate import evaluate as run_evaluation

    options = {
        "data": data,
        "weights": weights,
        "base_model": None if base_model is None else str(base_model),
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
    if scores is not None:
        choices["optional"] = ()
    if records:
        compare(records, config, options, choices, output, quiet, as_json)
        return
    if config is not None and (sweeps := choose_lidar(None, config, None, root)) is not None:
        lidar_scores(sweeps, flags.by_flag(options | choices), config, output, quiet, as_json)
        return
    if config is not None and verb_of(config) != "evaluate":
        result = training_run(config, flags.by_flag(options), choices, output, root)
        if result is None:
            return
        finish(_lines(result), {"scores": result.scores.values(), "files": result.files}, quiet, as_json)
        return
    flags.no_root(root)
    result = run_evaluation(chosen_run(config, options, choices), output)
    if result is not None:
        finish(_lines(result), {"scores": result.scores.values(), "files": result.files}, quiet, as_json)


def chosen_run(config: Path | None, options: dict[str, Any], choices: dict[str, Any]) -> EvaluationRun:
    """The run of these flags; `choices` change what is measured."""
    from dwm.runs.evaluate import EvaluationRun

    run = saved(EvaluationRun, config, options)
    if choices:
        run = saved(EvaluationRun, None, {**run.model_dump(), "scores": {**run.scores.model_dump(), **choices}})
    return run


def lidar_scores(
    run: LidarRecipe, flags: dict[str, Any], config: Path, output: Path, quiet: bool, as_json: bool
) -> None:
    """Scores of a LiDAR run's weights over its held-out sweeps."""
    from dwm.cli.lidar import with_flags
    from dwm.opendwm.runs import check_ready
    from dwm.runs.lidar.evaluate import evaluate_lidar

    result = evaluate_lidar(check_ready(with_flags(run, flags, str(config)), config), output)
    if result is None:  # of several processes the first one scores
        return
    lines = [*result.result.lines(), "written:", *written(result.files)]
    finish(lines, {"scores": result.result.values(), "files": result.files}, quiet, as_json)


def compare(
    names: list[Path],
    config: Path | None,
    options: dict[str, Any],
    choices: dict[str, Any],
    output: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    """Two records side by side with paired tests; weights are evaluated first."""
    if len(names) != 2:
        raise typer.BadParameter(f"two records or folders of weights are compared, {len(names)} given")
    from dwm.runs.compare import cells, compared, evaluated_both, is_record, weights_named

    if all(map(is_record, names)):
        result = compared(names[0], names[1], output)
    else:
        result = evaluated_both(chosen_run(config, options, choices), weights_named(names), output)
    if result is None:
        return
    rows = [("", "A", "95 %", "B", "95 %", "B - A", "95 %", "p", "better"), *map(cells, result.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    width = max(map(len, result.numbers), default=0)
    plain = [f"{key:{width}}  {a:>12.6g}  {b:>12.6g}" for key, (a, b) in result.numbers.items()]
    heads = [f"A: {names[0]}", f"B: {names[1]}", f"{result.clips} clips"]
    finish([*heads, *lines, "", *plain, "written:", *written(result.files)], result.numbers, quiet, as_json)


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
