"""The recipes of the embedded weights: small enough to be learned and shown on two cores."""

from __future__ import annotations

from dwm.recipes.data import DataOptions
from dwm.recipes.recipe import Recipe
from dwm.recipes.registry import recipe


@recipe("town")
def town() -> Recipe:
    """The embedded world at 160×96, six views, eight frames at 4 Hz; trains on two cores."""
    data = DataOptions(source="town", size=(160, 96), frames=8, validation_frames=8, fps=4, stride=0.5)
    return Recipe(data=data)
