"""Settings that only make sense together, checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dwm.errors import DwmError
from dwm.recipes.recipe import Recipe


def check(run: Recipe, source: str) -> None:
    """Raises DwmError, naming `source` and the keys, for the first pair of settings that contradict each other."""
    for faults in CHECKS:
        for fault in faults(run):
            raise DwmError(f"{source}: {fault}")


def _views(run: Recipe) -> Iterator[str]:
    views = run.data.views
    if not views:
        yield "data.views is empty; name at least one camera"
    repeated = sorted({view for view in views if views.count(view) > 1})
    if repeated:
        yield f"data.views names {repeated[0]} twice"


CHECKS: tuple[Callable[[Recipe], Iterator[str]], ...] = (_views,)
