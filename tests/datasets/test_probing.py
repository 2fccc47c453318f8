"""Facts about doing `prepare` again: after a kill, after files or settings changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from avrt.config import MediaConfig, PrepareConfig
from avrt.datasets import prepare
from avrt.errors import ConfigError
from avrt.runs import read_parquet
from clips import encode_clip, tone

from .conftest import TABLES, make_config, probed, tables


def test_nothing_written_holds_an_absolute_path(config):
    prepare.run(config)
    text = b"".join(path.read_bytes() for path in config.run.path.rglob("*.json*"))
    rows = [row for name in TABLES for row in read_parquet(config.run.path / name)]
    assert str(config.data.root) not in json.dumps(rows) + text.decode()


def test_the_same_command_again_does_nothing_unless_files_were_deleted(config):
    first = prepare.run(config)
    path = config.run.path / "samples.parquet"
    content, changed = path.read_bytes(), path.stat().st_mtime_ns
    again = prepare.run(config)
    assert "nothing to do" in again.summary
    assert again.counts == first.counts
    assert path.stat().st_mtime_ns == changed
    path.unlink()
    assert probed(prepare.run(config)) == 0
    assert path.read_bytes() == content


def test_a_copy_with_other_times_gives_the_same_bytes(config, tmp_path):
    prepare.run(config)
    copy = shutil.copytree(config.data.root / "videos", tmp_path / "copy" / "videos").parent
    shutil.copy(config.data.root / "train_qa.json", copy)
    other = make_config(copy, tmp_path / "other")
    prepare.run(other)
    assert tables(other) == tables(config)


def test_a_file_that_arrived_later_is_probed_and_only_that(config):
    prepare.run(config)
    videos = config.data.root / "videos"
    shutil.copy(videos / "good_000001.mp4", videos / "missing.mp4")
    again = prepare.run(config)
    assert probed(again) == 1
    assert again.counts["kept"] == 3
    (videos / "missing.mp4").unlink()
    assert prepare.run(config).counts["failed/missing"] == 1


def test_a_file_exchanged_for_another_of_the_same_size_is_probed_and_only_that(config):
    prepare.run(config)
    before = tables(config)
    path = config.data.root / "videos" / "good_000001.mp4"
    content = path.read_bytes()
    status = path.stat()
    path.write_bytes(content.replace(b"Lavf", b"Lavg"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert path.stat().st_size == status.st_size
    assert probed(prepare.run(config)) == 1
    assert tables(config) != before
    path.write_bytes(content)
    prepare.run(config)
    assert tables(config) == before


def test_a_touched_file_changes_no_byte(config):
    prepare.run(config)
    before = tables(config)
    os.utime(config.data.root / "videos" / "mute.mp4")
    assert probed(prepare.run(config)) == 1
    assert tables(config) == before


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"prepare": PrepareConfig(silent="drop")}, "policies"),
        ({"media": MediaConfig(max_audio_s=5.0)}, "media"),
    ],
)
def test_other_settings_are_refused_with_a_remedy(make_known, change, what):
    config = make_known("broken")
    prepare.run(config)
    with pytest.raises(ConfigError, match=rf"other settings \({what}\); choose another run\.name"):
        prepare.run(config.model_copy(update=change))


def test_other_limits_open_all_files_again_and_other_policies_none(make_known):
    config = make_known("broken", no_audio="vision_only")
    assert probed(prepare.run(config)) == 0
    (config.run.path / "manifests" / "prepare.json").unlink()  # the remedy of the refusal
    media = MediaConfig(max_audio_s=5.0, workers=1)
    assert probed(prepare.run(config.model_copy(update={"media": media}))) == 5


# A run that is killed


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_where_it_was(write_avqa, tmp_path):
    n_files = 80
    names = [f"clip{n:03d}" for n in range(n_files)]
    root = write_avqa(*({"video_name": name} for name in names))
    clip = encode_clip(tmp_path / "clip.mp4", n_frames=50, sound=tone(2.0)).read_bytes()
    for name in names:
        free = len(name) + 8  # a box that players pass over makes each file another
        (root / f"{name}.mp4").write_bytes(clip + free.to_bytes(4, "big") + b"free" + name.encode())
    settings = [f"data.root={root}", f"run.dir={tmp_path / 'runs'}"]
    command = [sys.executable, "-m", "avrt", "prepare", *settings]
    journal = tmp_path / "runs" / "run" / "media.probes.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and n_lines(journal) < 10:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (journal.parent / "samples.parquet").exists()
    n_known = n_lines(journal)
    assert 10 <= n_known < n_files
    with journal.open("a") as file:
        file.write('{"settings": "cut off')
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{n_files - n_known} probed, {n_known} known before" in done.stdout
    assert n_lines(journal) == n_files
    calm = make_config(root, tmp_path / "calm")
    prepare.run(calm)
    assert [(journal.parent / name).read_bytes() for name in TABLES] == tables(calm)


def n_lines(journal):
    """Whole lines of the journal."""
    return journal.read_text().count("}}\n") if journal.exists() else 0
