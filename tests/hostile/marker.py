"""The picture of a frame's number, and its reader.

Four by four cells, bright or dark. The top left corner is bright and the other corners are dark, so
a turned picture does not read; nine cells hold the number and three its remainder by seven, so a
damaged picture hardly reads. A wave that moves makes every frame differ everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

MAX_NUMBER = 511
DARK = np.array([40, 60, 90], np.float32)
BRIGHT = np.array([215, 195, 160], np.float32)
"""Tinted, so that a wrong colour matrix or range shows."""

CORNERS = [(0, 0), (0, 3), (3, 0), (3, 3)]
CELLS = [(row, column) for row in range(4) for column in range(4) if (row, column) not in CORNERS]


@cache
def picture(number: int, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """The picture (height, width, 3) of a frame, upright."""
    code = number | number % 7 << 9
    cells = np.zeros((4, 4), bool)
    cells[0, 0] = True
    for bit, cell in enumerate(CELLS):
        cells[cell] = code >> bit & 1
    rows, columns = np.arange(height), np.arange(width)
    bright = cells[rows[:, None] * 4 // height, columns * 4 // width]
    turns = 2 * (rows[:, None] + 0.5) / height + 3 * (columns + 0.5) / width + number / 16
    wave = 16 * np.sin(2 * np.pi * turns)
    return (np.where(bright[..., None], BRIGHT, DARK) + wave[..., None]).round().astype(np.uint8)


def read_number(pixels: NDArray[np.uint8]) -> int | None:
    """The number in a picture (height, width) or (height, width, 3); None where it has none."""
    height, width = pixels.shape[:2]
    grey = pixels.reshape(height, width, -1).mean(axis=2)

    def level(row: int, column: int) -> float:
        top, bottom = round((row + 0.3) * height / 4), round((row + 0.7) * height / 4)
        left, right = round((column + 0.3) * width / 4), round((column + 0.7) * width / 4)
        return float(grey[top : bottom + 1, left : right + 1].mean())

    levels = [level(*cell) for cell in [*CORNERS, *CELLS]]
    if any(abs(value - 128) < 20 for value in levels):
        return None
    bits = [int(value > 128) for value in levels]
    code = sum(bit << place for place, bit in enumerate(bits[4:]))
    number = code & MAX_NUMBER
    return number if bits[:4] == [1, 0, 0, 0] and code >> 9 == number % 7 else None


def read_numbers(pixels: NDArray[np.uint8]) -> list[int | None]:
    """The numbers in pictures (n, height, width, 3)."""
    return [read_number(frame) for frame in pixels]


def picked(shown: Sequence[int], n_frames: int = 8) -> list[int]:
    """The rule, stated again: `n_frames` of the frames on show, first and last included."""
    step = (len(shown) - 1) / (n_frames - 1)
    # Python's round and numpy's agree: halves go to the even number.
    return [shown[round(step * place)] for place in range(n_frames)]
