"""AVRT: audio-visual reasoning data, training and evaluation from single-modality teachers."""

__version__ = "0.1.0"
