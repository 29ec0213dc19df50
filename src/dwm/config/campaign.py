"""A campaign: runs one after another, each from the weights of the one before and in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field, model_validator

from dwm.config.checks import check
from dwm.config.files import from_values, resolve, validated
from dwm.config.overrides import SOURCE, apply_overrides
from dwm.config.recipe import Recipe
from dwm.config.registry import find, import_catalogue, without_variant
from dwm.errors import DwmError, nearest
from dwm.options import Options

_CAMPAIGNS: dict[str, Mapping[str, str]] = {}


def campaign(name: str, stages: Mapping[str, str]) -> None:
    """Names a campaign: stage → recipe, in order."""
    _CAMPAIGNS[name] = MappingProxyType(dict(stages))


def campaigns() -> Mapping[str, Mapping[str, str]]:
    """Every campaign by name: stage → recipe."""
    import_catalogue()
    return MappingProxyType(_CAMPAIGNS)


class CampaignStage(Options):
    name: str = Field(..., min_length=1, pattern=r"^[\w-]+$", description="name of the stage, and of its folder")
    run: Recipe = Field(..., description="what is trained in it")


class Campaign(Options):
    """Runs one after another. Where the first one starts from is its own `weights`; the others start from the last one's."""

    name: str = Field("", description="the campaign's name; also the default folder below runs/")
    stages: tuple[CampaignStage, ...] = Field(..., min_length=1, description="what is trained, in order")

    @model_validator(mode="after")
    def _distinct(self) -> Campaign:
        names = [stage.name for stage in self.stages]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"stages: two are named {twice!r}")
        return self


def is_campaign(name: str | None) -> bool:
    """Whether a name is that of a campaign or of a variant of one."""
    return name is not None and without_variant(name)[0] in campaigns()


def find_campaign(name: str) -> Campaign:
    """The campaign of that name, or a variant (`-tiny`: its stages' twins on the town). Raises DwmError for another name."""
    parent, suffix = without_variant(name)
    if parent not in campaigns():
        raise DwmError(f"no campaign is named {name!r}{nearest(name, campaigns())}; `dwm show recipes` lists them")
    stages = tuple(CampaignStage(name=stage, run=find(run + suffix)) for stage, run in campaigns()[parent].items())
    return Campaign(name=name, stages=stages)


def campaign_from(values: Mapping[str, Any], source: str) -> Campaign:
    """A campaign from plain values. A stage's run may name a recipe as its parent and say what differs."""
    stages = values.get("stages")
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise DwmError(f'{source}: stages: expected a list of objects {{"name": …, "run": {{…}}}}')
    read = [
        {**stage, "run": from_values(stage.get("run"), f"{source}: stages.{index}.run")}
        for index, stage in enumerate(stages)
    ]
    return validated(Campaign, {**values, "stages": read}, source)


def changed(campaign: Campaign, overrides: Sequence[str]) -> Campaign:
    """With settings changed in one stage (`stage2.training.steps=10`) or in all (`training.steps=10`), and checked."""
    names = [stage.name for stage in campaign.stages]
    stages = []
    for stage in campaign.stages:
        ours = [text for text in (_for(stage.name, override, names) for override in overrides) if text is not None]
        run = stage.run
        if ours:
            run = validated(Recipe, apply_overrides(Recipe, run.model_dump(mode="json"), ours), SOURCE)
        check(run, f"{campaign.name or 'config'}: {stage.name}")
        stages.append(stage.with_(run=run))
    return campaign.with_(stages=tuple(stages))


def started_from(campaign: Campaign, output: Path) -> list[tuple[CampaignStage, Path]]:
    """Each stage with the weights that it really starts from, and its folder below `output`."""
    stages, before = [], None
    for stage in campaign.stages:
        run = stage.run if before is None else stage.run.with_(weights=str(before / "weights"))
        stages.append((stage.with_(run=run), output / stage.name))
        before = output / stage.name
    return stages


def resolved(name: str, overrides: Sequence[str] = ()) -> Recipe | Campaign:
    """A named recipe or campaign with overrides, checked."""
    return changed(find_campaign(name), overrides) if is_campaign(name) else resolve(name, overrides=overrides)


def _for(stage: str, override: str, names: Sequence[str]) -> str | None:
    """An override as this stage reads it, None where it is another stage's."""
    key = override.partition("=")[0]
    head, dot, _ = key.partition(".")
    if head not in names:
        return override
    if not dot:
        raise DwmError(
            f"{SOURCE}: {override!r}: {head} is a stage; name a setting in it, as {head}.training.steps=1000"
        )
    return override.removeprefix(f"{head}.") if head == stage else None
