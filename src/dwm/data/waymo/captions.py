"""OpenDWM's caption files of Waymo, which both of Waymo's formats share."""

from __future__ import annotations

from collections.abc import Iterator

from dwm.data.captions import CaptionFiles
from dwm.data.waymo.sensors import CAMERAS


class WaymoCaptions(CaptionFiles):
    """Captions by "scene|µs|number of the camera", times by scene."""

    def camera_key(self, scene: str, channel: str) -> str:
        return scene

    def key(self, scene: str, channel: str, stamp: float) -> str:
        return f"{scene}|{stamp}|{CAMERAS.get(channel, 0)}"

    def all_keys(self) -> Iterator[str]:
        """Not every camera needs a caption at each of a scene's times."""
        keys = (f"{camera_key}|{number}" for camera_key in CaptionFiles.all_keys(self) for number in CAMERAS.values())
        return (key for key in keys if key in self.captions)
