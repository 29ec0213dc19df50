"""Which packet of a film holds which picture, so that a picture is found by its number whatever the film's time stamps say.

Picture n is the n-th that decoding from the start gives. Containers promise less than one would think: AVI has no times of
display, an edit list hides pictures, a stream may be cut so that its first packets show nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

ONE_EACH = frozenset(("h264", "hevc", "mjpeg", "prores", "ffv1", "png"))
"""Codecs of which a packet is a picture; others (VP8, VP9) have packets that show nothing."""
WITH_TIMES = ("mov", "matroska")
"""Containers, as FFmpeg names them, that hold the time at which each picture is shown."""


@dataclass(frozen=True)
class FilmIndex:
    """The pictures of a film's first video stream.

    display_order: the packet of each picture, in the order of display. places: byte position and stamp of each packet; None where
    these do not tell them apart, and only decoding from the start will do. keys: (picture, packet) of those that need no
    others and after which every picture shown later can be decoded, rising.
    """

    display_order: tuple[int, ...]
    numbers: dict[int, int]
    packet_at: dict[tuple[int, int | None], int] | None
    stamps: tuple[int | None, ...]
    keys: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, container: Any, open_again: Callable[[], Any]) -> FilmIndex:
        """Walks through the packets; through the pictures too where packets do not say which one is shown when.

        A second walk opens the film again: going back may end at the first key picture, behind packets that have none.
        """
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        identities = [(packet.pos, packet.dts if packet.pts is None else packet.pts) for packet in packets]
        is_key = [packet.is_keyframe for packet in packets]
        if _times_tell(container, stream, packets):
            visible = [i for i, packet in enumerate(packets) if not packet.is_discard]
            display_order = sorted(visible, key=lambda i: packets[i].pts)
            distinct = True
        else:
            display_order = [packet for packet, _ in _decode(_counted(open_again()))]
            distinct = len(set(display_order)) == len(display_order)
        numbers = {packet: number for number, packet in enumerate(display_order)}
        packet_numbers = dict(zip(identities, range(len(packets)), strict=True))
        return cls(
            tuple(display_order),
            numbers,
            packet_numbers if distinct and len(packet_numbers) == len(packets) else None,
            tuple(packet.pts if packet.dts is None else packet.dts for packet in packets),
            _ways_in(display_order, is_key),
        )

    @property
    def count(self) -> int:
        return len(self.display_order)

    def pictures(self, container: Any) -> Iterator[tuple[int, Any]]:
        """Numbers and pictures of a container that stands at its start."""
        packets = _decode(_counted(container))
        if self.packet_at is None:
            yield from enumerate(frame for _, frame in packets)
        else:
            yield from ((self.numbers[packet], frame) for packet, frame in packets if packet in self.numbers)

    def pictures_for(self, container: Any, number: int) -> Iterator[tuple[int, Any]]:
        """The same from the last place before a picture from which it can be decoded; nothing where no place is safe."""
        at = bisect_right(self.keys, (number, len(self.stamps))) - 1
        if self.packet_at is None or at < 0 or self.stamps[self.keys[at][1]] is None:
            return
        first, key = self.keys[at]
        container.seek(self.stamps[key], stream=container.streams.video[0], backward=True)
        for packet, frame in _decode(self._from(container, key, self.packet_at)):
            if self.numbers.get(packet, -1) >= first:
                yield self.numbers[packet], frame

    def _from(
        self, container: Any, key: int, packet_at: dict[tuple[int, int | None], int]
    ) -> Iterator[tuple[int, Any]]:
        """The packets from `key` on of a container that was sought; nothing where it stands behind that."""
        reached = False
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                which = packet_at.get((packet.pos, packet.dts if packet.pts is None else packet.pts), -1)
                if not reached and (which < 0 or which > key):
                    return
                reached = True
                if which < key:
                    continue
            else:
                which = -1
            yield which, packet


def _times_tell(container: Any, stream: Any, packets: list[Any]) -> bool:
    """Whether sorting packets by their times gives the pictures in the order in which decoding would."""
    codec, stamps = stream.codec_context, [packet.pts for packet in packets]
    return (
        codec.name in ONE_EACH
        and container.format.name.startswith(WITH_TIMES)
        and _is_progressive(codec)
        and None not in stamps
        and len(set(stamps)) == len(stamps)
        and bool(packets)
        and packets[0].is_keyframe
        and min(stamps) == stamps[0]
        and not any(packet.is_corrupt for packet in packets)
    )


def _is_progressive(codec: Any) -> bool:
    """Interlaced films may have a packet for each half of a picture."""
    return str(getattr(codec, "field_order", "progressive")).rpartition(".")[2] in ("progressive", "unknown", "0", "1")


def _ways_in(display_order: list[int], is_key: list[bool]) -> tuple[tuple[int, int], ...]:
    """(picture, packet) of key pictures that all later pictures follow in the film too.

    A picture may be shown after a key one and yet stand before it in the film only where the stamps are odd: such a key is
    no way in.
    """
    ways, latest_first = [], len(is_key)
    for number in range(len(display_order) - 1, -1, -1):
        latest_first = min(latest_first, display_order[number])
        if is_key[display_order[number]] and display_order[number] == latest_first:
            ways.append((number, display_order[number]))
    return tuple(reversed(ways))


def _counted(container: Any) -> Iterator[tuple[int, Any]]:
    return enumerate(container.demux(container.streams.video[0]))


def _decode(packets: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Pictures with the number of the packet that each came in: decoders carry a packet's stamp to its picture."""
    for number, packet in packets:
        if packet.size:
            packet.pts = number
        for frame in packet.decode():
            yield frame.pts if frame.pts is not None else -1, frame
