from __future__ import annotations

import os

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from avrt.cli import cli
from avrt.config import Config, DataConfig, MediaConfig, PrepareConfig, RunConfig
from avrt.datasets import prepare, read_samples, write_samples
from avrt.datasets.faults import REMEDIES
from avrt.datasets.prepared import load_prepared
from avrt.datasets.probing import probe_files
from avrt.errors import MEDIA_ERROR_CLASSES, AvrtError, ConfigError, DataError
from avrt.runs import read_parquet
from avrt.types import Sample
from clips import encode_clip, tone
from failing_opens import fail_opens

from .conftest import QUIET, TABLES, make_config, probed


def usable(config):
    rows = read_parquet(config.run.path / "samples.parquet")
    return {row["id"].removeprefix("avqa-train-"): (row["usable"], row["status"]) for row in rows}


# What goes wrong


def test_every_row_is_accounted_for_under_its_name(config):
    result = prepare.run(config)
    assert result.counts == {
        "read": 7,
        "kept": 2,
        "dropped/no_options": 1,
        "failed/no_audio": 1,
        "failed/no_video": 1,
        "failed/truncated": 1,
        "failed/missing": 1,
    }
    samples = load_prepared(config.run.path)
    assert [sample.id for sample in samples] == ["avqa-train-1", "avqa-train-2"]
    rows = {row["path"]: row for row in read_parquet(config.run.path / "media.parquet")}
    assert rows["videos/good_000001.mp4"]["n_frames"] == 10
    assert rows["videos/mute.mp4"]["status"] == "ok"
    assert rows["videos/missing.mp4"]["status"] == "missing"


def test_the_summary_names_examples_and_what_to_do(config):
    text = prepare.run(config).summary
    assert "7 questions about 5 media files (5 probed, 0 known before)" in text
    assert f"1 truncated, such as videos/cut.mp4\n          -> {REMEDIES['truncated']}\n" in text
    assert "1 dropped: the row has no options" in text


def test_the_summary_names_three_files_at_most(write_avqa, tmp_path):
    root = write_avqa(*({"video_name": f"gone{n}"} for n in range(5)), {"video_name": "here"})
    (root / "here.mp4").write_bytes(b"<html></html>")
    text = prepare.run(make_config(root, tmp_path / "runs")).summary
    names = ", ".join(f"videos/gone{n}.mp4" for n in range(3))
    assert f"5 missing, such as {names}\n" in text


CLEAR = ["drum", "train", "clock", "bell"]


@pytest.mark.parametrize(
    ("options", "answer", "outcome"),
    [
        (["drum", "train", "clock", "drum"], 0, "dropped/repeated_gold"),
        (["drum", "train", "clock", "Drum "], 3, "dropped/repeated_gold"),
        (["a  drum", "train", "clock", "Ａ drum"], 0, "dropped/repeated_gold"),
        (["A. drum", "B. train", "C. clock", "D. drum"], "drum", "dropped/repeated_gold"),
        (["drum", "train", " ", "bell"], 0, "dropped/blank_option"),
        (["A. drum", "B. ", "C. clock", "D. bell"], "A", "dropped/blank_option"),
        (["drum", "", "", "bell"], 0, "dropped/blank_option"),
        (["drum", "train", "Train", "bell"], 0, "note/repeated_option"),
    ],
)
@pytest.mark.parametrize("format_name", ["avqa", "parquet"])
def test_questions_with_unclear_options_are_counted_by_name(
    write_avqa, tmp_path, options, answer, outcome, format_name
):
    root = write_avqa(
        {"multi_choice": CLEAR, "answer": 0, "video_name": "clip"},
        {"multi_choice": options, "answer": answer, "video_name": "clip"},
    )
    encode_clip(root / "clip.mp4", n_frames=4, sound=tone(0.4))
    data = DataConfig(root=root)
    if format_name == "parquet":
        write_samples(root / "train.parquet", list(read_samples(data)))
    data = data.model_copy(update={"format": format_name})
    config = make_config(root, tmp_path / "runs").model_copy(update={"data": data})
    result = prepare.run(config)
    n_kept = 1 + outcome.startswith("note")
    assert result.counts == {"read": 2, "kept": n_kept, outcome: 1}
    assert len(load_prepared(config.run.path)) == n_kept
    assert f"{outcome.partition('/')[2]}" in result.summary
    assert "such as train_qa.json:2\n" in result.summary
    prepare.refuse_faults(PrepareConfig(), result.counts, strict=False)
    if n_kept == 1:
        with pytest.raises(AvrtError, match="1 "):
            prepare.refuse_faults(PrepareConfig(broken="fail"), result.counts, strict=False)


def test_the_summary_names_files_that_are_almost_meant(write_avqa, tmp_path):
    root = write_avqa({"video_name": "Clip"}, {"video_name": "here"})
    encode_clip(root / "here.mp4", n_frames=4, sound=tone(0.4))
    (root / "videos").mkdir()
    (root / "videos/clip.mp4").touch()
    config = make_config(root, tmp_path / "runs")
    for text in (prepare.plan(config), prepare.run(config).summary):
        assert "'videos/Clip.mp4' is missing, but 'videos/clip.mp4' is there; rename one" in text


def test_a_clip_that_comes_while_others_are_probed_is_left_for_the_next_time(
    write_avqa, tmp_path, monkeypatch
):
    root = write_avqa({"video_name": "late"}, {"video_name": "here"})
    encode_clip(root / "here.mp4", n_frames=4, sound=tone(0.4))
    config = make_config(root, tmp_path / "runs")
    probe_files = prepare.probe_files

    def slow(*arguments, **settings):
        infos = probe_files(*arguments, **settings)
        (root / "late.webm").write_bytes((root / "here.mp4").read_bytes())
        return infos

    monkeypatch.setattr(prepare, "probe_files", slow)
    assert prepare.run(config).counts == {"read": 2, "kept": 1, "failed/missing": 1}
    monkeypatch.setattr(prepare, "probe_files", probe_files)
    assert prepare.run(config).counts == {"read": 2, "kept": 2}


def test_names_of_thousands_of_characters_are_missing_files(write_avqa, tmp_path):
    root = write_avqa({"video_name": "x" * 5000}, {"video_name": "here"})
    encode_clip(root / "here.mp4", n_frames=4, sound=tone(0.4))
    config = make_config(root, tmp_path / "runs")
    assert "1 missing" in prepare.plan(config)
    assert prepare.run(config).counts == {"read": 2, "kept": 1, "failed/missing": 1}


def test_every_fault_has_a_remedy_and_a_row_in_the_page(repository):
    assert set(MEDIA_ERROR_CLASSES) < set(REMEDIES)
    assert all(REMEDIES.values())
    page = (repository / "docs" / "media.md").read_text()
    wanted = [*REMEDIES, *(f"prepare.{name}" for name in ("broken", "no_audio", "silent"))]
    assert [name for name in wanted if f"`{name}`" not in page] == []
    for name, policy in PrepareConfig():
        assert any(f"{name}`" in row and f"| `{policy}` |" in row for row in page.splitlines())


def test_a_root_without_media_is_refused_with_exit_code_2(write_avqa, tmp_path):
    root = write_avqa({})
    config = make_config(root, tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"none of the 1 media files is here") as caught:
        prepare.run(config)
    assert caught.value.exit_code == 2
    assert not config.run.path.exists()


def test_a_run_that_was_not_prepared_is_named(tmp_path):
    with pytest.raises(DataError, match=r"samples\.parquet: not found"):
        load_prepared(tmp_path)


def test_a_file_that_hangs_or_crashes_the_decoder_is_named_and_tried_again(config, monkeypatch):
    slow = config.model_copy(update={"media": MediaConfig(timeout_s=0.7, workers=1)})
    hook = config.run.dir.parent / "hooks" / "sitecustomize.py"
    hook.parent.mkdir()
    hook.write_text(HOOK)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(hook.parent), prepend=os.pathsep)
        result = prepare.run(slow)
    counts = result.counts
    assert (counts["failed/timeout"], counts["failed/undecodable"], counts["kept"]) == (1, 1, 2)
    reasons = {row["path"]: row["reason"] for row in read_parquet(slow.run.path / TABLES[1])}
    assert "not read after 0.7 s" in reasons["videos/mute.mp4"]
    assert "the decoder crashed" in reasons["videos/dark.mp4"]
    assert result.fault.startswith("prepare: 1 files could not be read now (1 timeout; the first: ")
    again = prepare.run(slow)
    assert probed(again) == 2
    assert again.fault == ""
    assert (again.counts["failed/timeout"], again.counts["failed/no_audio"]) == (0, 1)


HOOK = '''
"""Makes two files hang and crash whoever opens them, in every process that starts from here."""
import os, signal, sys, time

def audit(event, arguments):
    if event == "open" and str(arguments[0]).endswith("mute.mp4"):
        time.sleep(600)
    if event == "open" and str(arguments[0]).endswith("dark.mp4"):
        os.kill(os.getpid(), signal.SIGSEGV)

sys.addaudithook(audit)
'''


@pytest.mark.parametrize(
    ("how", "error_class"),
    [
        ("killed", "killed"),
        ("EACCES", "permission"),
        ("EIO", "unreadable"),
        ("EMFILE", "unreadable"),
        ("ENOMEM", "unreadable"),
        ("ESTALE", "unreadable"),
        ("ENOTCONN", "unreadable"),
    ],
)
def test_what_says_nothing_about_a_file_ends_with_1_and_is_mended_by_the_same_command(
    config, monkeypatch, how, error_class
):
    command = ["prepare", f"data.root={config.data.root}", f"run.dir={config.run.dir}"]
    with monkeypatch.context() as patch:
        fail_opens(patch, config.run.dir.parent / "hooks", "mute.mp4", how)
        lost = CliRunner().invoke(cli, [*command, "media.workers=1"])
    assert lost.exit_code == 1, lost.output
    assert (
        f"prepare: 1 files could not be read now (1 {error_class}; the first: videos/mute.mp4: "
        in (lost.output)
    )
    rows = {row["path"]: row["status"] for row in read_parquet(config.run.path / TABLES[1])}
    assert rows["videos/mute.mp4"] == error_class
    assert usable(config)["1"] == ("av", "ok"), "the rest is done"
    assert "mute.mp4" not in (config.run.path / "media.probes.jsonl").read_text()
    mended = CliRunner().invoke(cli, [*command, "media.workers=1"])
    assert mended.exit_code == 0, mended.output
    assert "(1 probed, 4 known before)" in mended.output
    assert usable(config)["3"] == (None, "no_audio")


def test_two_names_of_one_file_are_probed_once(tmp_path):
    encode_clip(tmp_path / "clip.mp4", n_frames=8, sound=tone(0.4))
    names = ["clip.mp4", "./clip.mp4"]
    infos = probe_files(tmp_path / "run", tmp_path, names, MediaConfig(workers=1))
    assert [(name, info.path, info.status) for name, info in infos.items()] == [
        (name, name, "ok") for name in names
    ]


# What becomes of the samples


@pytest.mark.parametrize(
    ("policies", "wanted"),
    [
        ({}, {"3": (None, "no_audio"), "7": (None, "no_video")}),
        ({"no_audio": "vision_only"}, {"3": ("v", "no_audio"), "7": (None, "no_video")}),
        ({"no_video": "audio_only"}, {"3": (None, "no_audio"), "7": ("a", "no_video")}),
        ({"broken": "fail"}, {"4": (None, "truncated"), "5": (None, "missing")}),
    ],
)
def test_policies_decide_on_files_that_lack_something(make_known, policies, wanted):
    config = make_known("broken", **policies)
    counts = prepare.run(config).counts
    found = usable(config)
    assert {number: found[number] for number in wanted} == wanted
    assert found["1"] == ("av", "ok")
    assert counts["kept"] == sum(halves is not None for halves, _ in found.values())
    for modality in ("a", "v", "av"):
        ids = [sample.id for sample in load_prepared(config.run.path, modality)]
        assert ids == [
            f"avqa-train-{number}"
            for number, (halves, _) in found.items()
            if halves and set(modality) <= set(halves)
        ]


@pytest.mark.parametrize(
    ("policies", "wanted"),
    [
        ({}, [("av", "ok"), ("av", "ok"), ("av", "ok")]),
        ({"silent": "drop"}, [("av", "ok"), (None, "silent"), (None, "silent")]),
        ({"silent": "vision_only"}, [("av", "ok"), ("v", "silent"), ("v", "silent")]),
        ({"still": "audio_only"}, [("a", "still"), ("av", "ok"), ("a", "still")]),
        (
            {"still": "audio_only", "silent": "vision_only"},
            [("a", "still"), ("v", "silent"), (None, "still")],
        ),
        (
            {"still": "audio_only", "silent": "fail"},
            [("a", "still"), (None, "silent"), (None, "silent")],
        ),
        ({"still": "drop", "silent": "keep"}, [(None, "still"), ("av", "ok"), (None, "still")]),
    ],
)
def test_policies_decide_on_files_that_are_odd(make_known, policies, wanted):
    config = make_known("odd", **policies)
    prepare.run(config)
    assert list(usable(config).values()) == [("av", "ok"), *wanted]


def test_oddities_are_counted_once_as_what_they_cost(make_known):
    counts = prepare.run(make_known("odd", still="audio_only", silent="drop")).counts
    assert counts == {"read": 4, "kept": 2, "one_sided/still": 1, "dropped/silent": 2}


def test_oddities_that_cost_nothing_are_noted(make_known):
    config = make_known("odd")
    result = prepare.run(config)
    assert result.counts == {"read": 4, "kept": 4, "note/still": 2, "note/silent": 2}
    assert "2 silent, still used, such as videos/silent.mp4, videos/both.mp4" in (result.summary)
    rows = {row["path"]: row["notes"] for row in read_parquet(config.run.path / "media.parquet")}
    assert list(rows.values()) == [[], ["still"], ["silent"], ["silent", "still"]]


def test_a_cut_clip_can_be_used_and_is_noted(write_avqa, tmp_path):
    root = write_avqa({"video_name": "cut"})
    whole = encode_clip(tmp_path / "whole.mp4", sound=tone(2.0), options={"movflags": "+faststart"})
    (root / "cut.mp4").write_bytes(whole.read_bytes()[:-2000])
    config = make_config(root, tmp_path / "runs", media=MediaConfig(damaged="use", workers=1))
    counts = prepare.run(config).counts
    assert (counts["kept"], counts["note/truncated"]) == (1, 1)
    with pytest.raises(AvrtError, match="1 truncated; --strict"):
        prepare.refuse_faults(config.prepare, counts, strict=True)


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("keep", ("av", "ok", None)),
        ("vision_only", ("v", "opposite_phase", "sound.wav: opposite phase, 120 dB are lost")),
        ("drop", (None, "opposite_phase", "sound.wav: opposite phase, 120 dB are lost")),
        ("fail", (None, "opposite_phase", "sound.wav: opposite phase, 120 dB are lost")),
    ],
)
def test_a_policy_decides_on_channels_in_opposite_phase(tmp_path, policy, wanted):
    left = tone(0.5)[:1]
    encode_clip(tmp_path / "sound.wav", n_frames=0, sound=np.concatenate([left, -left]))
    Image.new("RGB", (60, 60)).save(tmp_path / "a.png")
    files = {"video": None, "image": "a.png", "audio": "sound.wav"}
    question = {"question": "?", "options": ("a", "b"), "answer_index": 0, "question_type": "W"}
    more = {"question_relation": "both", "video_id": "s", "source": "here:1"}
    write_samples(tmp_path / "train.parquet", [Sample(id="s", **question, **more, **files)])
    config = Config(
        run=RunConfig(dir=tmp_path / "runs"),
        data=DataConfig(root=tmp_path, format="parquet"),
        media=MediaConfig(workers=1),
        prepare=PrepareConfig(opposite_phase=policy),
    )
    result = prepare.run(config)
    (row,) = read_parquet(config.run.path / "samples.parquet")
    assert (row["usable"], row["status"]) == wanted[:2]
    assert row["reason"] is wanted[2] or row["reason"].startswith(wanted[2])
    sound = read_parquet(config.run.path / "media.parquet")[1]
    assert (sound["notes"], sound["mono_loss_db"]) == (["opposite_phase"], 120.0)
    assert "opposite_phase" in result.summary
    assert "media.opposite_phase=loudest_channel makes it heard" in result.summary
    if policy == "fail":
        with pytest.raises(AvrtError, match="1 opposite_phase"):
            prepare.refuse_faults(config.prepare, result.counts, strict=False)


def test_a_picture_beside_a_sound_is_judged_by_both_files(tmp_path):
    def sample(name, **files):
        paths = {"video": None, "image": None, "audio": None} | files
        return Sample(
            id=name,
            question="?",
            options=("a", "b"),
            answer_index=0,
            question_type="Which",
            question_relation="both",
            video_id=name,
            source=f"here:{name}",
            **paths,
        )

    samples = [
        sample("good", image="a.png", audio="a.wav"),
        sample("quiet", image="a.png", audio="quiet.wav"),
        sample("bad", image="bad.png", audio="a.wav"),
        sample("deaf", image="a.png"),
        sample("blind", audio="a.wav"),
    ]
    Image.new("RGB", (60, 60)).save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    encode_clip(tmp_path / "a.wav", n_frames=0, sound=tone(0.4))
    encode_clip(tmp_path / "quiet.wav", n_frames=0, sound=QUIET)
    write_samples(tmp_path / "train.parquet", samples)
    config = Config(
        run=RunConfig(dir=tmp_path / "runs"),
        data=DataConfig(root=tmp_path, format="parquet"),
        media=MediaConfig(workers=1),
        prepare=PrepareConfig(silent="drop", no_audio="vision_only"),
    )
    prepare.run(config)
    rows = read_parquet(config.run.path / "samples.parquet")
    assert {row["id"]: (row["usable"], row["reason"]) for row in rows} == {
        "good": ("av", None),
        "quiet": (None, "quiet.wav: silent"),
        "bad": (None, "bad.png: the picture is damaged or cut off; download it again"),
        "deaf": ("v", "here:deaf: has no sound; usable for vision only"),
        "blind": (None, "here:blind: has no picture; usable for sound only"),
    }


def test_fail_and_strict_stop_after_everything_is_written(make_known):
    config = make_known("broken", broken="fail", no_audio="vision_only")
    counts = prepare.run(config).counts
    assert all((config.run.path / name).is_file() for name in TABLES)
    with pytest.raises(
        AvrtError, match=r"questions with faults: 1 missing, 1 truncated; .*`prepare`"
    ):
        prepare.refuse_faults(config.prepare, counts, strict=False)
    with pytest.raises(
        AvrtError, match=r": 1 missing, 1 no_audio, 1 no_video, 1 truncated; --strict"
    ) as caught:
        prepare.refuse_faults(config.prepare, counts, strict=True)
    assert caught.value.exit_code == 1
    again = prepare.run(config).counts
    assert again == counts, "the counts of a finished stage say the same"


def test_dropped_faults_stop_only_with_strict():
    config = Config()
    prepare.refuse_faults(
        config.prepare, {"kept": 1, "failed/missing": 2, "dropped/no_options": 3}, False
    )
    prepare.refuse_faults(config.prepare, {"kept": 1, "dropped/no_options": 3}, strict=True)
    with pytest.raises(AvrtError, match=r"2 silent; --strict allows no fault"):
        prepare.refuse_faults(config.prepare, {"kept": 4, "note/silent": 2}, strict=True)


# What will be done


def test_the_plan_says_what_and_writes_nothing(config):
    text = prepare.plan(config.model_copy(update={"prepare": PrepareConfig(still="drop")}))
    assert "read 7 questions" in text
    assert "probe 5 media files (1 missing; 0 more are known before)" in text
    assert "no_audio drop, still drop, silent keep" in text
    assert not config.run.path.exists()


def test_the_plan_of_a_prepared_run_says_what_is_left(config):
    prepare.run(config)
    assert "nothing to do" in prepare.plan(config)
    os.utime(config.data.root / "videos" / "mute.mp4")
    assert "probe 1 media files (1 missing; 4 more are known" in prepare.plan(config)


def test_the_real_clips_are_prepared(tmp_path, real_data):
    data = DataConfig(root=real_data / "avqa", split="val")
    config = Config(run=RunConfig(dir=tmp_path), data=data)
    assert prepare.run(config).counts == {"read": 6, "kept": 6}
