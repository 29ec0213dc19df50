"""Words about pictures: OpenDWM's two caption files, alignment between views, and the random choice of what is said.

Nothing here is changed in place: the same item of the same epoch always reads the same words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from dwm.clip import Caption
from dwm.conventions import CAPTION_KEYS
from dwm.data.caption_store import KEPT_FROM, kept_captions
from dwm.data.options import CaptionOptions
from dwm.data.windows import nearest_index
from dwm.errors import DwmError
from dwm.storage import Files, Tree, limits
from dwm.strict_json import parse_json

Captions = tuple[tuple[Caption, ...], ...]
Words = tuple[tuple[str, ...], ...]
Missing = Literal["error", "empty", "description"]

PAIR = re.compile(r"nuscenes_(.+)_caption_v2_(train|val)\.json")


@dataclass(frozen=True)
class CaptionFiles:
    """The two files: captions by "scene token|channel|µs", and the µs that exist by "scene token|channel"."""

    micros: ClassVar[int] = 1
    """µs of one count of its times."""
    name: str
    captions: Mapping[str, Any]
    times: Mapping[str, Sequence[float]]

    def at(self, scene: str, channel: str, stamp: float, strict: bool = True) -> Caption | None:
        """The caption nearest in time (`stamp` in µs; the earlier of two), None where the channel has none.

        Raises DwmError for a time without its caption (unless not `strict`: None then), and for one that is no caption.
        """
        times = self.times.get(self.camera_key(scene, channel))
        if not times:
            return None
        key = self.key(scene, channel, self.nearest(scene, channel, stamp))
        if key not in self.captions and not strict:
            return None
        if (fault := self.fault(key)) is not None:
            raise DwmError(fault)
        entry = self.captions[key]
        return Caption(**{part: entry.get(part, "") for part in CAPTION_KEYS})

    def nearest(self, scene: str, channel: str, stamp: float) -> float:
        """Of a camera's times, which rise, the one nearest to a frame's (µs); the earlier of two."""
        times = self.times[self.camera_key(scene, channel)]
        return times[int(nearest_index(np.asarray(times, np.float64), np.asarray(stamp / self.micros)))]

    def camera_key(self, scene: str, channel: str) -> str:
        """The key of the times of a camera."""
        return f"{scene}|{channel}"

    def key(self, scene: str, channel: str, stamp: float) -> str:
        """The key of a caption."""
        return f"{scene}|{channel}|{stamp}"

    def all_keys(self) -> Iterator[str]:
        """The captions that the times name."""
        return (f"{camera_key}|{stamp}" for camera_key, stamps in self.times.items() for stamp in stamps)

    def fault(self, key: str) -> str | None:
        """What is wrong with the caption of "scene token|channel|µs"; None where it is as it should be."""
        entry = self.captions.get(key)
        if entry is None and key not in self.captions:
            return f"{self.name}: no caption {key}, which the times file names; the two files do not belong together"
        if not isinstance(entry, dict) or not all(isinstance(entry.get(part, ""), str) for part in CAPTION_KEYS):
            return f"{self.name}: caption {key} is not an object of texts ({', '.join(CAPTION_KEYS)})"
        return None


def find_caption_files(tree: Tree, version: str) -> list[CaptionFiles]:
    """The caption files in the root of a data set: `captions.json`, else nuScenes' pairs for train and val.

    Tokens are the same in a version and what was interpolated from it, so that pairs of another version serve as well.
    """
    if tree.exists("captions.json"):
        return [read_caption_files(tree, "captions.json", "caption_times.json")]
    pairs = [match for name in tree.names("nuscenes_") if (match := PAIR.fullmatch(name))]
    matches = [match for match in pairs if match[1] == version] or pairs
    return [
        read_caption_files(tree, match[0], f"nuscenes_{match[1]}_caption_v2_times_{match[2]}.json") for match in matches
    ]


def named_caption_files(tree: Tree, names: tuple[str, str]) -> list[CaptionFiles]:
    """Files that were named are plain files: relative to the working folder, whatever the data set's tree holds."""
    for name in names:
        if "://" not in name and not Path(name).is_file():
            beside = Path(name).name
            hint = f"; {tree.where} holds a {beside}, which is read where no captions are named" * tree.exists(beside)
            raise DwmError(f"captions {name}: no such file (seen from {Path.cwd()}){hint}")
    return [read_caption_files(Files(names), *names)]


def read_caption_files(tree: Tree, name: str, times: str) -> CaptionFiles:
    """Both files; large ones are kept as tables. Raises DwmError where one is missing, cut short or not UTF-8."""
    if tree.size(name) >= KEPT_FROM:
        return CaptionFiles(
            name, *kept_captions(tree, name, times, partial(_object, tree, name), partial(_object, tree, times))
        )
    return CaptionFiles(name, _object(tree, name), _checked_times(times, _object(tree, times)))


def _object(tree: Tree, name: str) -> dict[str, Any]:
    content = parse_json(tree.read(name, limits.TEXT), name)
    if not isinstance(content, dict):
        raise DwmError(f"{name}: is {type(content).__name__}, not an object by scene and camera")
    return content


def _checked_times(name: str, content: dict[str, Any]) -> dict[str, list[float]]:
    for key, stamps in content.items():
        if not isinstance(stamps, list) or not all(
            type(stamp) in (int, float) and abs(stamp) < 2**62 for stamp in stamps
        ):
            raise DwmError(f"{name}: {key[:80]} is not a list of times in µs; correct it, or make both files anew")
    return content


def align(captions: Captions, keys: Sequence[str]) -> Captions:
    """New captions in which, per frame, the views' most frequent value (the first seen of equals) stands in all views."""
    return tuple(
        tuple(
            replace(caption, **{key: _most_frequent([getattr(c, key) for c in row]) for key in keys}) for caption in row
        )
        for row in captions
    )


def _most_frequent(values: Sequence[str]) -> str:
    return Counter(values).most_common(1)[0][0]


def words(
    captions: Captions, options: CaptionOptions = CaptionOptions(), random: np.random.RandomState | None = None
) -> Words:
    """What is said of each picture. Draws, frame by frame and view by view: a permutation, then a number per drop rate."""
    if (options.reorder or options.drop_rates) and random is None:
        raise ValueError("random choices need a random state")
    return tuple(
        tuple(_say(caption, options, random) for caption in row) for row in align(captions, options.align_keys)
    )


def variants(captions: Captions, options: CaptionOptions = CaptionOptions()) -> list[str]:
    """Every text that `words` may say of these pictures, each once. Raises DwmError where the order is left to chance."""
    if options.reorder:
        raise DwmError(
            "words.reorder: captions in a random order are too many to be prepared; set it to false, or do not store text"
        )
    dropped = [key for key, rate in options.drop_rates.items() if rate > 0]
    key_sets = [
        [key for key in options.selected_keys if key not in left_out]
        for count in range(len(dropped) + 1)
        for left_out in combinations(dropped, count)
    ]
    distinct = dict.fromkeys(caption for row in align(captions, options.align_keys) for caption in row)
    return list(dict.fromkeys(caption.text(keys) for caption in distinct for keys in key_sets))


def _say(caption: Caption, options: CaptionOptions, random: np.random.RandomState | None) -> str:
    keys = list(options.selected_keys)
    if random is None:
        return caption.text(keys)
    if options.reorder:
        keys = [keys[i] for i in random.permutation(len(keys))]
    dropped = {key for key, rate in options.drop_rates.items() if random.rand() <= rate}
    return caption.text([key for key in keys if key not in dropped])
