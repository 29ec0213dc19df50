"""`Film`: finished pictures over time, and how they become a file. It knows nothing of cameras or clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace
from jaxtyping import UInt8
from PIL import Image

from dwm.errors import DwmError
from dwm.storage import atomic_write

CODECS = (
    ("libx264", {"crf": "18", "preset": "medium"}),
    ("libopenh264", {"b": "6M"}),
    ("libvpx-vp9", {"crf": "24", "b": "0"}),
    ("mpeg4", {"qscale": "3"}),
)
"""Encoders by preference, with their quality: the first that FFmpeg has here is taken. All but the last play in browsers."""

BT709 = 1


@dataclass(frozen=True)
class Film:
    """RGB pictures at a steady rate: what a mosaic, a comparison or one view looks like when it is finished."""

    frames: UInt8[np.ndarray, "t h w 3"]
    fps: float

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[3] != 3 or self.frames.dtype != np.uint8 or not len(self.frames):
            raise ValueError(f"a film is uint8 (t, h, w, 3) with t > 0, not {self.frames.dtype} {self.frames.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        return self.frames.shape[2], self.frames.shape[1]

    def image(self, frame: int = 0) -> Image.Image:
        return Image.fromarray(self.frames[frame])

    def save(self, path: str | Path) -> Path:
        """Writes `.mp4` (H.264 that plays in browsers), `.gif` or, for one picture, `.png`; it appears when it is whole."""
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in WRITERS:
            raise DwmError(
                f"{path}: a film is saved as {', '.join(WRITERS)}, not as {suffix or 'a name without suffix'}"
            )
        if suffix == ".png" and len(self.frames) > 1:
            raise DwmError(f"{path}: a .png holds one picture, this film has {len(self.frames)}; save it as .mp4")
        with atomic_write(path) as temporary:
            WRITERS[suffix](self, Path(temporary))
        return path


def _write_png(film: Film, path: Path) -> None:
    film.image().save(path, format="PNG")


def _write_gif(film: Film, path: Path) -> None:
    first, *rest = (film.image(frame) for frame in range(len(film.frames)))
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=round(1000 / (film.fps or 1)), loop=0)


def _write_mp4(film: Film, path: Path) -> None:
    with _mp4(path, film.fps) as add:
        for picture in film.frames:
            add(picture)


@contextmanager
def film_writer(path: str | Path, fps: float) -> Iterator[Callable[[UInt8[np.ndarray, "h w 3"]], None]]:
    """Writes an `.mp4` picture by picture, all of one size, however long it becomes; it appears when it is whole."""
    with atomic_write(path) as temporary, _mp4(Path(temporary), fps) as add:
        yield add


@contextmanager
def _mp4(path: Path, fps: float) -> Iterator[Callable[[UInt8[np.ndarray, "h w 3"]], None]]:
    with _ffmpeg_errors(), av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        name, options = _codec()
        stream = container.add_stream(name, rate=Fraction(fps or 1).limit_denominator(1001), options=options)
        stream.pix_fmt = "yuv420p"
        _tag_colours(stream.codec_context)

        def add(picture: UInt8[np.ndarray, "h w 3"]) -> None:
            picture = _even(picture[None])[0]
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(_yuv(picture)))

        yield add
        container.mux(stream.encode())


WRITERS = {".mp4": _write_mp4, ".gif": _write_gif, ".png": _write_png}


def _codec() -> tuple[str, dict[str, str]]:
    for name, options in CODECS:
        if name in av.codecs_available and _can_encode(name):
            return name, dict(options)
    raise DwmError(f"no video encoder: FFmpeg has none of {', '.join(name for name, _ in CODECS)}; reinstall `av`")


def _can_encode(name: str) -> bool:
    try:
        return av.Codec(name, "w") is not None
    except av.FFmpegError:
        return False


def _tag_colours(codec: VideoCodecContext) -> None:
    # Untagged, players guess the matrix from the height, and the same film changes its colours with its size.
    codec.colorspace = codec.color_primaries = codec.color_trc = BT709
    codec.color_range = ColorRange.MPEG


def _yuv(picture: UInt8[np.ndarray, "h w 3"]) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        dst_colorspace=Colorspace.ITU709,
    )


def _even(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t H W 3"]:
    # yuv420p halves both sides: an odd row or column is repeated once.
    _, height, width, _ = frames.shape
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


@contextmanager
def _ffmpeg_errors() -> Iterator[None]:
    # FFmpeg's own errors (a full disk, say) become the system's, which the atomic write tells in one line.
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror, error.filename) from error


def read_film(path: str | Path) -> Film:
    """The pictures of a video file, all in memory. Raises DwmError where it is not a video."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
            fps = float(stream.average_rate or stream.guessed_rate)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise DwmError(f"{path}: cannot be read as a video ({error}); give an .mp4") from error
    return Film(np.stack(frames), fps)
