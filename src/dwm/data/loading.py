"""Windows of data sets as batches for a loader's workers: `ClipDataset`, indexed like a torch data set. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader, Sampler

from dwm.clip import Clip
from dwm.clip_batch import ClipBatch
from dwm.data.batch import Size, merge, prepare
from dwm.data.dataset import Dataset
from dwm.data.options import CaptionOptions, LayoutOptions
from dwm.data.workers import worker_errors
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


@dataclass(frozen=True)
class _Told(torch.utils.data.Dataset):
    """The items of a data set; a `DwmError` takes an item's place, so that it leaves a worker as the one line that it is."""

    items: ClipDataset

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> ClipBatch | DwmError:
        try:
            return self.items[index]
        except DwmError as error:
            return error


def _merge_or_tell(items: Sequence[ClipBatch | DwmError]) -> ClipBatch | DwmError:
    wrong = next((item for item in items if isinstance(item, DwmError)), None)
    try:
        return merge([item for item in items if isinstance(item, ClipBatch)]) if wrong is None else wrong
    except DwmError as error:
        return error


class ClipLoader(DataLoader):
    """Batches of a `ClipDataset`. Raises DwmError for what a worker could not read, and where a worker was killed."""

    def __iter__(self) -> Iterator[ClipBatch]:  # type: ignore[override]
        with worker_errors(f"take fewer than {self.num_workers} workers, or a smaller batch"):
            for batch in super().__iter__():
                if isinstance(batch, DwmError):
                    raise batch
                yield batch


class ClipDataset(torch.utils.data.Dataset):
    """Item i is clip i as a batch of one, pictures as bytes until `ClipBatch.to`; `merge` joins items. Words are drawn by item
    and epoch, whichever worker draws them."""

    def __init__(
        self,
        clips: Windows,
        size: Size | None,
        layout: LayoutOptions | None = LayoutOptions(),
        captions: CaptionOptions = CaptionOptions(),
        pictures: bool = True,
    ) -> None:
        self.clips, self.size, self.layout, self.captions, self.pictures = clips, size, layout, captions, pictures
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Chooses the words of this epoch, in running workers too."""
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> ClipBatch:
        random = self.captions.random(int(self._epoch[0]), index)
        return prepare(self.clips[index], self.size, self.layout, self.pictures, self.captions, random, True)

    def loader(
        self, batch: int, sampler: Sampler[int] | Sequence[int] | None = None, workers: int = 0, pin: bool = False
    ) -> ClipLoader:
        """Batches of `batch` clips in the sampler's order (None: in order); `batch.to(device)` makes their pictures floats."""
        return ClipLoader(
            _Told(self),
            batch_size=batch,
            sampler=sampler,
            num_workers=workers,
            collate_fn=_merge_or_tell,
            pin_memory=pin,
            persistent_workers=workers > 0,
        )

    def __iter__(self) -> Iterator[ClipBatch]:
        return (self[index] for index in range(len(self)))
