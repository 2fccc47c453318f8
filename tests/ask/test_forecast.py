"""Facts about the forecast of the time that is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from avrt.ask.forecast import MAX_POINTS, Forecast


def run(pace: Callable[[float], float], seconds: int) -> Forecast:
    """A forecast that saw so many pieces a second, for some seconds after the start."""
    now = 0.0
    forecast = Forecast(lambda: now)
    n = 0.0
    for tick in range(10 * seconds):
        now = tick / 10
        n += pace(now) / 10
        if n >= 1:
            forecast.finish(int(n))
            n -= int(n)
    return forecast


def middle(forecast: Forecast, n_left: int) -> float:
    left = forecast.remaining_s(n_left)
    assert left is not None
    return sum(left) / 2


@pytest.mark.parametrize(
    ("name", "pace", "seconds"),
    [
        ("steady", lambda _: 10.0, 60),
        ("a minute until the model is loaded", lambda now: 10.0 if now > 60 else 0.0, 120),
        ("a warm-up at a quarter of the pace", lambda now: 10.0 if now > 30 else 2.5, 120),
        ("a burst at first", lambda now: 10.0 if now > 5 else 80.0, 60),
        ("in batches", lambda now: 50.0 if now % 5 < 1 else 0.0, 120),
    ],
)
def test_what_is_left_is_told_from_the_latest_pace(
    name: str, pace: Callable[[float], float], seconds: int
) -> None:
    assert middle(run(pace, seconds), 9_000) == pytest.approx(900, rel=0.15), name


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [
        (lambda _: 0.0, 60),
        (lambda _: 1000.0, 5),
        (lambda _: 0.5, 60),
        (lambda now: now**3 / 100, 40),
        (lambda now: 40.0 if now < 30 else 10.0, 40),
    ],
)
def test_before_the_pace_is_steady_nothing_is_told(
    pace: Callable[[float], float], seconds: int
) -> None:
    assert run(pace, seconds).remaining_s(1_000) is None


def test_the_range_holds_both_paces() -> None:
    least, most = run(lambda now: 10.0 if now < 75 else 12.0, 100).remaining_s(1_200) or (0, 0)
    assert least == pytest.approx(100, rel=0.02)
    assert most == pytest.approx(120, rel=0.02)


def test_memory_does_not_grow_with_the_work() -> None:
    forecast = run(lambda _: 10.0, 3_600)
    assert len(forecast._times) <= MAX_POINTS
    assert middle(forecast, 3_600) == pytest.approx(360, rel=0.05)
