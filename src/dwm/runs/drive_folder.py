"""What a drive leaves in a folder: the record, the film that was generated, one beside what was told and what is there, the scenes
as data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from dwm.drive.scene_package import ScenePackage
from dwm.drive.script import Control, Recorder
from dwm.drive.world import DrivingWorld, Picture, mosaic
from dwm.options import Options
from dwm.report import film_writer
from dwm.report.draw import grid

CONTROLS, GENERATED, COMPARISON, SCENES = "drive.jsonl", "generated.mp4", "comparison.mp4", "scenes.zip"
NAMES = (CONTROLS, GENERATED, COMPARISON, SCENES)


class DriveFolder:
    """What is kept of one drive, as it goes on. Films and scenes appear when it is closed, the record is always whole."""

    def __init__(self, folder: Path, run: Options, world: DrivingWorld) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.views = folder, world.views
        self.stack = ExitStack()
        # Which device it was is not asked again: the same drive may go on another.
        self.recorder = self.stack.enter_context(
            Recorder(folder / CONTROLS, run.model_dump(mode="json", exclude={"device"}))
        )
        fps = world.source.fps
        self.generated = self.stack.enter_context(film_writer(folder / GENERATED, fps))
        self.comparison = self.stack.enter_context(film_writer(folder / COMPARISON, fps))
        self.scenes = self.stack.enter_context(
            closing(ScenePackage(folder / SCENES, f"dwm drive, {world.source.name}"))
        )

    def tick(self, control: Control, pictures: Sequence[Picture]) -> None:
        """Keeps one tick and the pictures that it finished."""
        self.recorder.tick(control, pictures)
        for picture in pictures:
            rows = [mosaic(row, self.views) for row in (picture.real, picture.layout, picture.views) if row is not None]
            self.generated(rows[-1])
            self.comparison(grid(rows, 1))
            self.scenes.add(picture)

    def close(self) -> None:
        self.stack.close()

    @property
    def files(self) -> tuple[Path, ...]:
        """What was written."""
        return tuple(path for name in NAMES if (path := self.folder / name).exists())
