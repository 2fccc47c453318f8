"""Read media files: frames, sound, and their encoded forms for servers.

No other package of AVRT touches a codec.
"""

from __future__ import annotations

from avrt.media.clip import Decoded, read_clip, read_frames, read_waveform
from avrt.media.frames import count_frames, fit_size, sample_indices
from avrt.media.load import load_media
from avrt.media.payloads import encode_jpegs, encode_wav
from avrt.media.probe import MediaInfo, probe
from avrt.media.waveform import SAMPLE_RATE_HZ

__all__ = [
    "SAMPLE_RATE_HZ",
    "Decoded",
    "MediaInfo",
    "count_frames",
    "encode_jpegs",
    "encode_wav",
    "fit_size",
    "load_media",
    "probe",
    "read_clip",
    "read_frames",
    "read_waveform",
    "sample_indices",
]
