"""Facts about `avrt replay`: stored calls are shown as they were, sent on demand, never kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from avrt.cli.replay import replay_row as replay
from avrt.config import Config
from avrt.errors import ConfigError, DataError
from avrt.generate import build, merge, trace
from avrt.runs import file_digest, read_parquet
from scripted_run import MakeConfig, replies, right

ROW = "avqa-train-3"


@pytest.fixture
def config(make_config: MakeConfig) -> Config:
    config = make_config(replies({("MERGE", 4): None}))
    for stage in (trace, merge, build):
        stage.run(config)
    return config


def keys_of(config: Config, name: str) -> list[str]:
    folder = config.run.path / "dataset"
    rows = [row for part in ("train", "validation", "rejected")
            for row in read_parquet(folder / f"{part}.parquet")]  # fmt: skip
    return next(row["call_keys"] for row in rows if row["id"] == name)


def contents(run: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(run / "ledger.sqlite") as connection:
        tables = ("calls", "attempts", "payloads")
        return [row for name in tables for row in connection.execute(f"SELECT * FROM {name}")]


def test_an_unknown_row_is_answered_with_close_ones(config: Config) -> None:
    with pytest.raises(DataError, match=r"'avqa-trian-3': neither .* did you mean avqa-train-3"):
        replay(config, "avqa-trian-3")
    with pytest.raises(DataError, match="did you mean"):
        replay(config, "0" * 64)


def test_a_number_is_answered_with_the_row_whose_id_ends_with_it(config: Config) -> None:
    with pytest.raises(DataError, match=r"did you mean avqa-train-7\?"):
        replay(config, "7")


def test_a_run_without_calls_or_dataset_says_so(make_config: MakeConfig) -> None:
    config = make_config()
    with pytest.raises(DataError, match=r"ledger\.sqlite: not found"):
        replay(config, ROW)
    trace.run(config)
    with pytest.raises(DataError, match=r"no dataset in .*; run `avrt build`"):
        replay(config, ROW)


def test_a_row_that_no_model_was_asked_about_says_so(config: Config) -> None:
    with pytest.raises(DataError, match="no model was called for it"):
        replay(config, "avqa-train-8")


def test_changed_media_are_named_and_never_sent(config: Config) -> None:
    clip = config.data.root / "videos" / "clip0_000001.mp4"
    clip.write_bytes(clip.read_bytes() + b"\0")
    assert "CHANGED since the call was made: now it has sha256" in replay(config, ROW)
    with pytest.raises(DataError, match=r"clip0_000001\.mp4: not the file"):
        replay(config, ROW, send=True)
    clip.unlink()
    assert "CHANGED since the call was made: now it is not there" in replay(config, ROW)


def test_a_call_of_a_teacher_that_is_gone_cannot_be_sent(
    config: Config, make_config: MakeConfig
) -> None:
    key = keys_of(config, ROW)[0]
    renamed = config.teachers["vision"]
    other = config.model_copy(update={"teachers": {"eyes": renamed}})
    with pytest.raises(ConfigError, match=r"teachers\.vision: .* not configured; known: eyes"):
        replay(other, key, send=True)


def test_every_call_of_a_row_is_shown_whole(config: Config) -> None:
    shown = replay(config, ROW)
    letter = right(3)
    titles = [line for line in shown.splitlines() if line.startswith("# ")]
    assert titles == [
        "# Call 1 of 3: trace, vision",
        "# Call 2 of 3: trace, audio",
        "# Call 3 of 3: merge, merger",
    ]
    for part in (
        "<frames>VISION question 3?\n(A) dog\n(B) cat\n(C) car\n(D) rain",
        "<audio>AUDIO question 3?",
        f"({letter}) rain\nAudio Description: a3",
        f"Visual Description: v3\nAnswer: ({letter})",
        f"<think>joined 3</think>\n<answer>{letter}</answer>",
        "n_frames=4",
        "model=scripted-merge",
        "temperature=0.0",
        file_digest(config.data.root / "videos" / "clip0_000001.mp4"),
        *keys_of(config, ROW),
    ):
        assert part in shown
    assert str(config.data.root) not in shown


def test_a_key_or_its_beginning_names_one_call(config: Config) -> None:
    key = keys_of(config, ROW)[1]
    assert replay(config, key) == replay(config, key[:12])
    assert replay(config, key).startswith("# Call 1 of 1: trace, audio")


def test_a_failed_call_shows_its_failure(config: Config) -> None:
    shown = replay(config, "avqa-train-4")
    assert "## Reply: failed as no_reply\n\nno line of the script matches" in shown


def test_sent_again_stands_beside_the_stored_and_changes_nothing(
    config: Config, make_config: MakeConfig
) -> None:
    before = contents(config.run.path)
    assert replay(config, ROW, send=True).count("equal to the stored one") == 3
    other = make_config(replies({("VISION", 3): "Nothing there."}))
    shown = replay(other, ROW, send=True)
    assert "differs; from another model: model=scripted-vision" in shown
    assert "Nothing there." in shown
    assert "Visual Description: v3" in shown
    assert contents(config.run.path) == before
    assert not any(config.run.path.glob("**/*replay*"))


def test_the_stored_recipe_is_sent_not_the_one_of_now(
    config: Config, make_config: MakeConfig
) -> None:
    now = make_config(replies(), "media.n_frames=2", "media.max_audio_s=0.1")
    assert replay(now, ROW, send=True).count("equal to the stored one") == 3
