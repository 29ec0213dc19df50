"""What a run is: its schema, overrides, files, checks and faults, and its cost before it starts. Does no run."""

from dwm.config.campaign import Campaign
from dwm.config.checks import check
from dwm.config.files import from_values, load, read_json, resolve, save
from dwm.config.recipe import Recipe
from dwm.config.registry import find, recipe, recipes, summary

__all__ = [
    "Campaign",
    "Recipe",
    "check",
    "find",
    "from_values",
    "load",
    "read_json",
    "recipe",
    "recipes",
    "resolve",
    "save",
    "summary",
]
