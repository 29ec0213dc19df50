"""Windows of data sets by number. Reads no picture before a clip is asked for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from dwm.clip import Clip
from dwm.data.dataset import Dataset
from dwm.errors import DwmError


@runtime_checkable
class Windows(Protocol):
    """Anything that cuts clips by number: windows of a nuScenes set, scenes of the town, a list of clips."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Clip: ...


class DatasetWindows:
    """Windows of several (fps, stride) pairs of one data set: scene by scene, pair by pair, as OpenDWM orders them."""

    def __init__(
        self, dataset: Dataset, length: int, fps_stride: Sequence[tuple[float, float]], check: bool = True
    ) -> None:
        self.dataset = dataset
        by_rate = [window for fps, stride in fps_stride for window in dataset.windows(length, fps, stride, check)]
        self.windows = dataset.with_pictures(sorted(by_rate, key=lambda window: window.scene))
        if not self.windows:
            longest = max(scene.seconds for scene in dataset.scenes)
            raise DwmError(
                f"{dataset.describe()}: no window of {length} frames at {list(fps_stride)} (fps, stride s); scenes last at most "
                f"{longest:.1f} s; take a shorter length, another fps, or no synchronisation check"
            )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Clip:
        return self.dataset.clip(self.windows[index])
