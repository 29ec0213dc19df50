"""What a clip holds, told in lines. Draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from dwm.clip import Clip
from dwm.data import open_dataset


@dataclass(frozen=True)
class ClipFacts:
    """counts are boxes by category in the first annotated frame; map are polygons by layer."""

    scene: str
    dataset: str
    seconds: float
    rate: float
    frames: int
    views: tuple[str, ...]
    size: tuple[int, int]
    counts: dict[str, int] = field(default_factory=dict)
    map: dict[str, int] = field(default_factory=dict)
    caption: str = ""
    description: str = ""

    def lines(self) -> Iterator[str]:
        yield self.dataset
        yield f"{self.scene}: {self.seconds:.1f} s, recorded at {self.rate:g} frames a second"
        yield f"views: {', '.join(self.views)}, {self.size[0]}×{self.size[1]}"
        boxes = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        yield f"boxes in the first annotated frame: {boxes or 'none'}"
        yield f"map: {', '.join(f'{count} {name}' for name, count in self.map.items()) or 'none'}"
        yield f"caption: {self.caption or 'none'}"
        if self.description:
            yield f"description: {self.description}"


def clip_facts(path: str, scene: str | None, version: str | None = None) -> ClipFacts:
    """Facts about a scene of a data set, the first one without a name. Raises DwmError for what is not there."""
    dataset = open_dataset(path, version)
    recording = dataset[scene] if scene else dataset.scenes[0]
    clip = recording.clip(0.0, 1)
    return ClipFacts(
        scene=recording.name,
        dataset=dataset.describe(),
        seconds=recording.seconds,
        rate=recording.rate,
        frames=clip.length,
        views=clip.views,
        size=clip.rig.size_of(0),
        counts=_counts(clip),
        map={} if clip.map is None else {name: len(polygons) for name, polygons in clip.map.layers.items()},
        caption=clip.captions[0][0].text() if clip.captions else "",
        description=clip.description,
    )


def _counts(clip: Clip) -> dict[str, int]:
    every = [boxes for row in clip.boxes or () for boxes in row if boxes is not None]
    return dict(Counter(every[0].category).most_common()) if every else {}
