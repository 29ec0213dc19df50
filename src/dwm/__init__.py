"""An open driving world model: surround-view driving video from words, boxes, lanes and cameras."""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
"""The name that type checkers know. Importing `typing` for it would be most of the time that `import dwm` takes."""

if TYPE_CHECKING:
    from dwm.generation import DrivingPipeline
    from dwm.runs.lidar.pipeline import LidarPipeline

__all__ = ["DrivingPipeline", "LidarPipeline", "__version__"]

PIPELINES = {"DrivingPipeline": "dwm.generation", "LidarPipeline": "dwm.runs.lidar.pipeline"}
"""Where each lies."""


def __getattr__(name: str) -> object:
    # Importing the pipeline brings torch and diffusers; `import dwm` alone should stay instant.
    if name in PIPELINES:
        import importlib

        from dwm import versions

        try:
            return getattr(importlib.import_module(PIPELINES[name]), name)
        except Exception as error:
            if line := versions.explanation(error):
                raise ImportError(line) from None
            raise
    raise AttributeError(f"module 'dwm' has no attribute {name!r}")
