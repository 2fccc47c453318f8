"""Writes are whole or not at all; a stage knows whether its work is done and refuses to mix."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from avrt.config import Config, RunConfig, load_config
from avrt.errors import ConfigError, DataError
from avrt.runs import (
    check_sums,
    file_digest,
    fingerprint,
    hold_output,
    open_stage,
    read_parquet,
    replace_folder,
    save_config,
    student_path,
    unreadable_parquet,
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
    (tmp_path / "merged.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"not a readable.*; delete it, then run `avrt merge`"):
        read_parquet(tmp_path / "merged.parquet")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOMEM, errno.EACCES])
def test_a_fault_of_the_machine_is_not_called_one_of_the_file(tmp_path, number):
    error = OSError(number, os.strerror(number), str(tmp_path))
    assert unreadable_parquet(tmp_path, error) is error
    error = OSError("ZSTD_DCtx create failed")
    assert unreadable_parquet(tmp_path, error) is error


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


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"counts": NaN}', "\ud800"])
def test_a_damaged_manifest_is_named_with_a_remedy(tmp_path, source, text):
    stage = open_stage(tmp_path, "trace", {"k": 1}, [source])
    stage.finish({"kept": 1})
    stage.manifest_path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"trace\.json: .*; delete .* to do this stage again"):
        open_stage(tmp_path, "trace", {"k": 1}, [source])


def test_a_manifest_that_the_machine_cannot_read_is_not_to_be_deleted(
    tmp_path, source, monkeypatch
):
    open_stage(tmp_path, "trace", {"k": 1}, [source]).finish({"kept": 1})

    def fail(path):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(DataError, match=r"trace\.json: .*raise the limit .*, then repeat") as error:
        open_stage(tmp_path, "trace", {"k": 1}, [source])
    assert "delete" not in str(error.value)


def test_manifests_are_read_whatever_the_encoding_of_the_system_is(tmp_path):
    program = """if True:
        from pathlib import Path
        from avrt.runs import open_stage
        stage = open_stage(Path.cwd(), "trace", {"split": "\\u58f0"}, [])
        stage.finish({"kept": 1})
        assert open_stage(Path.cwd(), "trace", {"split": "\\u58f0"}, []).counts() == {"kept": 1}
    """
    narrow = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run(
        [sys.executable, "-c", program],
        env={**narrow, "PYTHONPATH": path},
        cwd=tmp_path,
        check=True,
    )


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


# Killed processes, and several at a time


def in_child(program: str, *args: object) -> subprocess.Popen[str]:
    """A process that runs a program with `avrt.runs` and waits where it reads its input."""
    head = "import os, signal, sys\nfrom pathlib import Path\nfrom avrt import runs\n"
    head += "kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + program, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path):
    with in_child("runs.write_atomic(Path(sys.argv[1]), kill)", tmp_path / "file") as killed:
        pass
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".avrt-")
    write_atomic(tmp_path / "other", lambda file: file.write(b"x"))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_what_a_living_process_or_another_machine_is_writing_stays(tmp_path):
    program = (
        "runs.write_atomic(Path(sys.argv[1]), lambda f: (print('at it', flush=True), input()))"
    )
    with in_child(program, tmp_path / "file") as living:
        assert living.stdout.readline() == "at it\n"
        (of_living,) = tmp_path.iterdir()
        elsewhere = of_living.with_name(".avrt-00000000-1-x")
        elsewhere.touch()
        write_atomic(tmp_path / "other", lambda file: file.write(b"x"))
        assert {path.name for path in tmp_path.iterdir()} == {
            *(of_living.name, elsewhere.name, "other"),
        }
        living.communicate("\n")
    assert {path.name for path in tmp_path.iterdir()} == {"file", elsewhere.name, "other"}


def test_of_a_link_the_folder_that_it_names_is_replaced(tmp_path):
    """It may lie on a larger disk."""
    (tmp_path / "disk" / "model").mkdir(parents=True)
    link = tmp_path / "model"
    link.symlink_to(tmp_path / "disk" / "model")
    for content in ("first", "second"):
        with replace_folder(link) as new:
            (new / "file").write_text(content)
        assert link.is_symlink()
        assert (tmp_path / "disk" / "model" / "file").read_text() == content
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "model"}
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["model"]


@pytest.mark.parametrize("n_faults", [1, 2, 3])
@pytest.mark.parametrize("at", ["rename", "mkdir", "rmtree"])
def test_no_number_of_faults_loses_both_copies_of_a_folder(tmp_path, monkeypatch, n_faults, at):
    folder = tmp_path / "model"
    with replace_folder(folder) as new:
        (new / "weights").write_text("old")
    program = """
import shutil
n = 0
def second(function):
    def wrapped(*args, **kwargs):
        global n
        n += 1
        n == int(sys.argv[2]) and kill()
        return function(*args, **kwargs)
    return wrapped
name = sys.argv[3]
where = shutil if name == "rmtree" else Path
setattr(where, name, second(getattr(where, name)))
with runs.replace_folder(Path(sys.argv[1])) as new:
    (new / "weights").write_text("new")
"""
    for fault in range(n_faults):
        with in_child(program, folder, 2 - fault % 2, at) as killed:
            killed.communicate()
        known = [path.read_text() for path in tmp_path.rglob("weights")]
        assert "old" in known or "new" in known
    with pytest.raises(OSError, match="No space"), replace_folder(folder):
        raise OSError(28, "No space left on device")
    assert (folder / "weights").read_text() in ("old", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_whose_second_rename_fails_is_put_back(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    with replace_folder(folder) as new:
        (new / "weights").write_text("old")
    rename = Path.rename

    def fail(self, target):
        if self.name == ".model.new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="No space"), replace_folder(folder) as new:
        (new / "weights").write_text("new")
    assert (folder / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_output_has_one_writer_who_is_named_and_let_go_by_a_kill(tmp_path):
    output = tmp_path / "runs" / "sft"
    program = "with runs.hold_output(Path(sys.argv[1])): print('held', flush=True); input()"
    with in_child(program, output) as other:
        assert other.stdout.readline() == "held\n"
        message = rf"sft: in use by process {other.pid} on \S+ since .* \(-c\); wait for it"
        with pytest.raises(ConfigError, match=message), hold_output(output):
            pass
        with hold_output(tmp_path / "runs" / "grpo"):
            pass
        other.kill()
    with hold_output(output):
        assert [path.name for path in output.parent.iterdir()] == [".sft.lock"]


def test_a_lock_leaves_nothing_not_even_a_folder(tmp_path):
    with pytest.raises(ValueError, match="refused"), hold_output(tmp_path / "a" / "b" / "sft"):
        raise ValueError("refused")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_process_whatever_its_copies_do(tmp_path):
    program = """
with runs.hold_output(Path(sys.argv[1])):
    if os.fork() == 0:
        print("copied", flush=True)
        input()
        os._exit(0)
    input()
"""
    with in_child(program, tmp_path / "x") as other:
        assert other.stdout.readline() == "copied\n"
        os.kill(other.pid, signal.SIGKILL)
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        with hold_output(tmp_path / "x"):
            pass
        other.stdin.close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_works(tmp_path, monkeypatch, capsys, number):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for _ in range(2):
        with hold_output(tmp_path / "sft"):
            pass
    note = f"note: the file system of {tmp_path} has no locks"
    assert capsys.readouterr().err.count(note) == 1


def test_only_the_main_process_of_a_launch_holds_the_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with hold_output(tmp_path / "sft"):
        monkeypatch.setenv("RANK", "1")
        with hold_output(tmp_path / "sft"):
            pass


def test_a_stage_is_to_do_before_what_it_reads_changes(tmp_path, source):
    stage = open_stage(tmp_path, "s", {"x": 1}, [source])
    stage.finish({})
    write_atomic(source, lambda file: file.write(b"rows"), derived=[stage.manifest_path])
    assert open_stage(tmp_path, "s", {"x": 1}, [source]).done
    write_atomic(source, lambda file: file.write(b"more"), derived=[stage.manifest_path])
    assert not open_stage(tmp_path, "s", {"x": 1}, [source]).done
    stage.finish({})  # as by a kill between a change and its mark
    write_atomic(source, lambda file: file.write(b"more"), derived=[stage.manifest_path])
    assert not stage.manifest_path.is_file()
