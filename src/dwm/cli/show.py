"""`dwm show`: recipes, the settings of a run, what it will cost, what a clip holds."""

from __future__ import annotations

from typing import Annotated

import typer

from dwm.cli import flags
from dwm.cli.say import finish

app = typer.Typer(
    help="Recipes, the settings of a run, what it will cost, what a clip holds.",
    epilog=flags.example("dwm show recipes", "dwm show config town", "dwm show memory -c runs/town/config.json"),
    no_args_is_help=True,
)
Name = Annotated[str | None, typer.Argument(help="A recipe's name; or give a file with -c.", show_default=False)]


@app.command(epilog=flags.example("dwm show recipes"))
def recipes(as_json: flags.Json = False) -> None:
    """The named recipes, a line each."""
    from dwm.recipes import recipes as named
    from dwm.recipes import summary

    lines = {name: summary(maker) for name, maker in named().items()}
    width = max(map(len, lines))
    finish([f"{name:{width}}  {text}" for name, text in lines.items()], lines, False, as_json)


@app.command(epilog=flags.example("dwm show config town training.optimizer.lr=1e-4"))
def config(
    name: Name = None,
    overrides: flags.Overrides = None,
    config: flags.Config = None,
    as_json: flags.Json = False,
) -> None:
    """Every setting of a run: its value, its meaning with unit, its default. --json prints what -c reads."""
    import json

    from dwm.cli.runs import chosen
    from dwm.recipes.describe import settings

    run = chosen(name, config, overrides)
    if as_json:
        print(json.dumps(run.model_dump(mode="json"), indent=1, ensure_ascii=False))
        return
    for setting in settings(run):
        default = "" if setting.is_default else f" (default {_short(setting.default)})"
        print(f"{setting.key} = {_short(setting.value)}{default}\n    {setting.meaning}")


def _short(value: object) -> str:
    import json

    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "…"
