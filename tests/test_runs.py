"""Writes are whole or not at all; a stage knows whether its work is done and refuses to mix."""

from __future__ import annotations

import pyarrow as pa
import pytest

from avrt.config import Config, RunConfig, load_config
from avrt.errors import ConfigError, DataError
from avrt.runs import (
    check_sums,
    file_digest,
    fingerprint,
    open_stage,
    read_parquet,
    save_config,
    student_path,
    write_atomic,
    write_json,
    write_parquet,
)

SCHEMA = pa.schema([("name", pa.string()), ("n", pa.int32())])
ROWS = [{"name": "a", "n": 1}, {"name": "b", "n": None}]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_first_write_leaves_nothing(tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "folder" / "file", interrupt)
    assert list((tmp_path / "folder").iterdir()) == []


def test_what_is_written_can_be_read_by_others(tmp_path):
    write_atomic(tmp_path / "file", lambda file: file.write(b"x"))
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_equal_rows_give_equal_bytes_and_come_back(tmp_path):
    for name in ("one", "two"):
        write_parquet(tmp_path / name, ROWS, SCHEMA)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert read_parquet(tmp_path / "one") == ROWS
    write_parquet(tmp_path / "two", ROWS[::-1], SCHEMA)
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()


def test_a_row_that_does_not_fit_is_not_written(tmp_path):
    with pytest.raises(pa.ArrowInvalid):
        write_parquet(tmp_path / "rows", [{"name": "a", "n": "many"}], SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent: not found; run the stage that writes it"):
        read_parquet(tmp_path / "absent")
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(DataError, match="text: not a readable Parquet file"):
        read_parquet(tmp_path / "text")


def test_json_is_stable(tmp_path):
    write_json(tmp_path / "one", {"b": 1, "a": "ä"})
    write_json(tmp_path / "two", {"a": "ä", "b": 1})
    assert (tmp_path / "one").read_text() == '{\n  "a": "ä",\n  "b": 1\n}\n'
    assert file_digest(tmp_path / "one") == file_digest(tmp_path / "two")


def test_a_fingerprint_follows_content_not_order():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "input"
    path.write_text("rows")
    return path


def test_a_stage_is_done_only_after_it_was_finished(tmp_path, source):
    stage = open_stage(tmp_path, "s", {"x": 1}, [source])
    assert not stage.done
    assert not open_stage(tmp_path, "s", {"x": 1}, [source]).done
    stage.finish({"read": 2, "kept": 2})
    again = open_stage(tmp_path, "s", {"x": 1}, [source])
    assert again.done
    assert again.counts() == {"read": 2, "kept": 2}
    assert not open_stage(tmp_path, "other", {"x": 1}, [source]).done


def test_other_settings_are_refused_by_name_with_a_remedy(tmp_path, source):
    open_stage(tmp_path, "s", {"x": 1, "y": 2, "old": 0}, [source]).finish({})
    with pytest.raises(ConfigError, match=r"other settings \(new, old, x\); choose another run"):
        open_stage(tmp_path, "s", {"x": 9, "y": 2, "new": 0}, [source])


def test_other_inputs_are_refused_with_the_file_to_delete(tmp_path, source):
    stage = open_stage(tmp_path, "s", {}, [source])
    stage.finish({})
    source.write_text("other rows")
    with pytest.raises(ConfigError, match=rf"other inputs; .*delete {stage.manifest_path}"):
        open_stage(tmp_path, "s", {}, [source])
    stage.manifest_path.unlink()
    assert not open_stage(tmp_path, "s", {}, [source]).done


def test_a_free_setting_only_means_that_the_stage_is_to_do(tmp_path, source):
    open_stage(tmp_path, "s", {"model": "m"}, [source], {"view": "paper"}).finish({})
    assert open_stage(tmp_path, "s", {"model": "m"}, [source], {"view": "paper"}).done
    assert not open_stage(tmp_path, "s", {"model": "m"}, [source], {"view": "either"}).done
    with pytest.raises(ConfigError, match=r"other settings \(model\)"):
        open_stage(tmp_path, "s", {"model": "n"}, [source], {"view": "either"})


def test_a_stage_of_free_settings_alone_is_done_again_on_other_inputs(tmp_path, source):
    open_stage(tmp_path, "s", {}, [source], {"view": "paper"}).finish({})
    source.write_text("other rows")
    assert not open_stage(tmp_path, "s", {}, [source], {"view": "paper"}).done


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent: not found; run the stage that writes it first"):
        open_stage(tmp_path, "s", {}, [tmp_path / "absent"])


def test_a_run_may_be_moved(tmp_path, source):
    (tmp_path / "a").mkdir()
    open_stage(tmp_path / "a", "s", {"x": 1}, [source]).finish({})
    (tmp_path / "a").rename(tmp_path / "b")
    assert open_stage(tmp_path / "b", "s", {"x": 1}, [source]).done


@pytest.mark.parametrize(
    "counts", [{"kept": 2}, {"kept": 2, "dropped/a": 1, "failed/b": 1}, {"kept": 2, "other": 1}]
)
def test_a_lost_or_invented_row_is_a_defect(counts):
    with pytest.raises(AssertionError, match="read 3 but accounted for"):
        check_sums("s", 3, counts)


def test_sums_that_add_up_pass():
    check_sums("s", 4, {"read": 4, "kept": 1, "dropped/a": 2, "failed/b": 1, "stratum/both": 1})


def test_a_student_is_found_by_its_name(tmp_path):
    config = Config(run=RunConfig(dir=tmp_path))
    assert student_path(config, "base") == config.student.model
    for place in ("org/name", "grpo-lab/model", "grpo/", "grpo.old"):
        assert student_path(config, place) == place
    for name in ("sft", "grpo", "grpo-base"):
        folder = config.run.path / name / "model"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        assert student_path(config, name) == str(folder)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("sft", "`avrt sft` for this run first"),
        ("grpo", "`avrt grpo` for this run first"),
        ("grpo-base", "`avrt grpo` with grpo.output=grpo-base first"),
    ],
)
def test_a_student_that_was_not_trained_is_refused_with_its_command(tmp_path, name, command):
    config = Config(run=RunConfig(dir=tmp_path))
    with pytest.raises(ConfigError, match=rf"no trained model here; run {command}"):
        student_path(config, name)


def test_the_saved_configuration_is_the_one_that_ran(tmp_path):
    config = load_config(None, (f"run.dir={tmp_path}", "grpo.epsilon=0.3"))
    save_config(config)
    saved = load_config(config.run.path / "config.yaml")
    assert saved.grpo == config.grpo
    assert saved.run.dir.resolve() == tmp_path
