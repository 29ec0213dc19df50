"""An open driving world model: surround-view driving video from words, boxes, lanes and cameras."""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
"""The name that type checkers know. Importing `typing` for it would be most of the time that `import dwm` takes."""

if TYPE_CHECKING:
    from dwm.generation import DrivingPipeline

__all__ = ["DrivingPipeline", "__version__"]


def __getattr__(name: str) -> object:
    # Importing the pipeline brings torch and diffusers; `import dwm` alone should stay instant.
    if name == "DrivingPipeline":
        from dwm import versions

        try:
            from dwm.generation import DrivingPipeline
        except Exception as error:
            if line := versions.explanation(error):
                raise ImportError(line) from None
            raise
        return DrivingPipeline
    raise AttributeError(f"module 'dwm' has no attribute {name!r}")
