"""Typed, frozen, named runs, composed of the rooms' options: overrides, JSON, checks, memory. Touches no device."""

from dwm.recipes.campaign import Campaign
from dwm.recipes.checks import check
from dwm.recipes.files import from_values, load, read_json, resolve, save
from dwm.recipes.recipe import Recipe
from dwm.recipes.registry import find, recipe, recipes, summary

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
