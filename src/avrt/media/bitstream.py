"""Read the first bytes of coded pictures: may a decoder start here, and are there layers?

H.264 is read after ITU-T H.264 section 7.4.1 (table 7-1), HEVC after ITU-T H.265 section 7.4.2.2
(table 7-1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["has_layers", "is_restart"]

H264_IDR = 5
HEVC_RESTARTS = (19, 20, 21)
"""IDR with and without leading pictures, and CRA: pictures shown later need no earlier one."""
HEVC_FIRST_NON_PICTURE = 32
INTRA_CODECS = ("mjpeg", "prores", "dnxhd", "png", "ffv1", "huffyuv", "rawvideo", "dvvideo")
"""Codecs that code every picture on its own."""


def is_restart(stream: VideoStream, packet: Packet[Any]) -> bool:
    """True when this picture and those shown after it decode exactly without earlier packets.

    A container's key frame flag is not enough: it also marks pictures after which decoding only
    gradually becomes exact. An unknown codec has no such picture.
    """
    name = stream.codec_context.name
    if not packet.is_keyframe:
        return False
    if name in INTRA_CODECS or name in ("av1", "libdav1d", "libaom-av1"):
        return True
    if name == "h264":
        return any(unit[0] & 31 == H264_IDR for unit in _nal_units(stream, packet))
    if name == "hevc":
        return any(unit[0] >> 1 & 63 in HEVC_RESTARTS for unit in _nal_units(stream, packet))
    return False


def has_layers(stream: VideoStream, packets: Sequence[Packet[Any]]) -> bool:
    """True for HEVC in several temporal layers.

    There, a picture that its own layer does not refer to may still be needed by a higher layer.
    """
    if stream.codec_context.name != "hevc":
        return False
    return any(
        len(unit) > 1 and unit[0] >> 1 & 63 < HEVC_FIRST_NON_PICTURE and unit[1] & 7 != 1
        for packet in packets
        for unit in _nal_units(stream, packet)
    )


def _nal_units(stream: VideoStream, packet: Packet[Any]) -> Iterator[memoryview]:
    """Yield the first two bytes of each unit, with lengths as in MP4 or start codes as in TS."""
    data = memoryview(packet)
    extra = stream.codec_context.extradata or b""
    if extra[:1] == b"\x01":  # avcC and hvcC boxes; in a transport stream it begins with zeros
        n_bytes = (extra[21] if stream.codec_context.name == "hevc" else extra[4]) & 3
        yield from _prefixed(data, n_bytes + 1)
    else:
        yield from _after_start_codes(bytes(data))


def _prefixed(data: memoryview, n_bytes: int) -> Iterator[memoryview]:
    start = 0
    while start + n_bytes < len(data):
        length = int.from_bytes(data[start : start + n_bytes], "big")
        start += n_bytes
        if length:
            yield data[start : start + 2]
        start += length


def _after_start_codes(data: bytes) -> Iterator[memoryview]:
    start = data.find(b"\0\0\1")
    while start >= 0 and start + 3 < len(data):
        yield memoryview(data)[start + 3 : start + 5]
        start = data.find(b"\0\0\1", start + 3)
