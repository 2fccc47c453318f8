"""Facts about data in a store: a run from a real S3 server is the run from the local copy, byte for
byte, and what fails is named.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avrt import stores
from avrt.ask.ledger import read_ledger
from avrt.config import BenchmarkConfig, Config, MediaConfig, load_config
from avrt.datasets import prepare, read_samples, write_samples
from avrt.errors import AvrtError, ConfigError, DataError
from avrt.evaluate import run as evaluate
from avrt.exchange import exports
from avrt.exchange.exports import clips as export_clips
from avrt.exchange.exports import shards as export_shards
from avrt.exchange.exports.formats import ExportOptions
from avrt.generate import build, merge, trace
from avrt.media import load_media
from avrt.media.cache import copy_digest, local_file
from avrt.media.shards import read_index
from avrt.report.item_media import MediaJob, render_all
from avrt.runs import iter_parquet, read_parquet
from avrt.stores import StorePath, to_path
from avrt.train.lengths import media_infos
from avrt.types import Sample
from chat_server import Reply, Server, chat
from clips import encode_clip, tone
from s3_server import BUCKET, S3, serve_s3
from scripted_run import MakeConfig, overrides, replies, write_script

WITH_MEDIA = ExportOptions(with_media=True)


@pytest.fixture(scope="module")
def server_of_store() -> Iterator[S3]:
    with serve_s3() as s3:
        yield s3


@pytest.fixture
def s3(server_of_store: S3, prepared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3:
    monkeypatch.setattr(stores, "PAUSE_S", 0.01)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    s3 = server_of_store
    s3.faults.clear()
    s3.always = s3.after_get = s3.broken = None
    to_path(f"s3://{BUCKET}/data").remove_tree()
    s3.upload(prepared / "data")
    s3.n_gets = s3.n_heads = s3.n_lists = 0
    return s3


def config_of(root: Path, *changes: str) -> Config:
    write_script(root, replies())
    return load_config(None, (*overrides(root), *changes))


@pytest.fixture
def remote(prepared: Path, tmp_path: Path, s3: S3) -> Config:
    """The settings of the prepared run, for a new run on the data in the store."""
    root = tmp_path / "remote"
    shutil.copytree(prepared, root, ignore=shutil.ignore_patterns("runs", "data"))
    return config_of(root, f"data.root={s3.root}", "media.workers=1")


def tables(config: Config) -> dict[str, bytes]:
    names = ("samples.parquet", "media.parquet")
    return {name: (config.run.path / name).read_bytes() for name in names}


def keys(config: Config) -> set[str]:
    with read_ledger(config.run.path) as ledger:
        return {row["key"] for row in ledger.query("SELECT key FROM calls")}


# What fails


def test_a_store_that_does_not_answer_is_named_at_once(
    remote: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        S3FileSystem.clear_instance_cache()
        with pytest.raises(AvrtError, match=r"s3://clips/data.*the store failed"):
            prepare.run(remote)
    S3FileSystem.clear_instance_cache()


def test_a_folder_without_annotations_is_refused_by_its_address(remote: Config, s3: S3) -> None:
    for root, words in (
        ("s3://clips/nothing", "no such folder"),
        ("s3://clips/data/videos", "no such file"),
    ):
        data = remote.data.model_copy(update={"root": to_path(root)})
        with pytest.raises(ConfigError, match=f"{root}.*{words}"):
            prepare.run(remote.model_copy(update={"data": data}))


def test_missing_and_broken_files_are_told_as_those_on_a_disk(
    prepared: Path, remote: Config, s3: S3, tmp_path: Path
) -> None:
    root = tmp_path / "local"
    shutil.copytree(prepared, root, ignore=shutil.ignore_patterns("runs"))
    videos = root / "data" / "videos"
    (videos / "clip0_000001.mp4").unlink()
    (videos / "clip1_000001.mp4").write_bytes((videos / "clip1_000001.mp4").read_bytes()[:900])
    (videos / "silent_000001.mp4").write_bytes(b"")
    to_path(s3.root).remove_tree()
    s3.upload(root / "data")
    local = config_of(root)
    counts = prepare.run(local).counts
    assert counts["failed/missing"]
    assert counts["failed/truncated"]
    assert counts["failed/not_media"]
    assert prepare.run(remote).counts == counts
    assert tables(remote) == tables(local)


def test_faults_of_the_store_do_not_change_a_run(remote: Config, s3: S3, prepared: Path) -> None:
    s3.faults.extend(["503", "ok", "truncated", "cut", "503"] * 2)
    assert not prepare.run(remote).fault
    assert tables(remote) == tables(config_of(prepared))


def test_files_that_cannot_be_had_now_are_tried_again_by_the_same_command(
    remote: Config, s3: S3, prepared: Path
) -> None:
    s3.broken = lambda path: path.endswith("clip0_000001.mp4")
    hasty = remote.media.model_copy(update={"timeout_s": 3.0, "workers": 2})
    lost = prepare.run(remote.model_copy(update={"media": hasty}))
    assert "1 files could not be read now" in lost.fault
    assert "the same command tries them again" in lost.fault
    s3.broken = None
    assert not prepare.run(remote).fault
    assert tables(remote) == tables(config_of(prepared))


def test_a_replaced_file_is_not_taken_for_the_prepared_one_and_is_probed_again(
    remote: Config, s3: S3, tmp_path: Path
) -> None:
    prepare.run(remote)
    known = tables(remote)
    s3.n_gets = 0
    assert "nothing to do" in prepare.run(remote).summary
    assert s3.n_gets <= 2  # the annotations
    clip = to_path(s3.root) / "videos" / "clip0_000001.mp4"
    content = (to_path(s3.root) / "videos" / "clip1_000001.mp4").read_bytes()
    clip.write_bytes(content)
    shutil.rmtree(tmp_path / "cache")  # which has the file that was prepared
    lost = trace.run(remote)
    assert "missing" in lost.fault
    (remote.run.path / "manifests" / "trace.json").unlink(missing_ok=True)
    assert "1 probed" in prepare.run(remote).summary
    assert tables(remote) != known


# What is the same


def test_a_run_from_a_store_is_the_run_from_a_disk(
    remote: Config, s3: S3, make_config: MakeConfig
) -> None:
    local = make_config()
    prepare.run(remote)
    assert tables(remote) == tables(local)
    s3.n_gets = 0
    for config in (local, remote):
        for stage in (trace, merge, build):
            stage.run(config)
    assert s3.n_gets == 0  # everything was in the cache
    assert keys(remote) == keys(local)
    for name in ("traces/teachers.parquet", "traces/merged.parquet", "dataset/train.parquet"):
        assert (remote.run.path / name).read_bytes() == (local.run.path / name).read_bytes()
    for path in remote.run.path.rglob("*"):
        if path.is_file():
            assert b"testing-secret" not in path.read_bytes()


def test_payloads_for_servers_may_be_shared_in_a_store(
    remote: Config, s3: S3, server: Server, tmp_path: Path
) -> None:
    def answer(body: dict[str, Any], _: int) -> Reply:
        content = body["messages"][-1]["content"]
        n_parts = 0 if isinstance(content, str) else len(content) - 1
        return chat("Answer: (B)", n_prompt_tokens=1 + 10 * n_parts)

    server.answer = answer
    kinds = [
        f'teachers.{name}.engine={{"kind": "openai", "base_url": "{server.url}"}}'
        for name in ("vision", "audio")
    ]
    place = f"media.payloads=s3://{BUCKET}/payloads"
    root = remote.run.dir.parent
    first = config_of(root, f"data.root={s3.root}", "media.workers=1", place, *kinds)
    prepare.run(first)
    trace.run(first)
    stored = list((to_path(f"s3://{BUCKET}/payloads")).scan())
    assert stored
    assert not (first.run.path / "payloads").exists()
    second = config_of(
        root, f"data.root={s3.root}", "media.workers=1", place, *kinds, "run.name=second"
    )
    prepare.run(second)
    shutil.rmtree(tmp_path / "cache")
    s3.broken = lambda path: path.startswith(f"/{BUCKET}/data/videos")
    try:
        trace.run(second)
    finally:
        s3.broken = None
    assert keys(second) == keys(first)
    to_path(f"s3://{BUCKET}/payloads").remove_tree()


def test_a_benchmark_in_a_store_gives_the_logs_of_the_local_one(
    s3: S3, tmp_path: Path, use_answers: Any, prepared: Path
) -> None:
    use_answers(lambda _: "<think>a guess</think><answer>A</answer>")
    local_root = tmp_path / "bench"
    shutil.copytree(prepared / "data" / "videos", local_root / "videos")
    names = ["clip0_000001.mp4", "silent_000001.mp4", "absent.mp4"]
    samples = [
        Sample(f"q{n}", "What?", ("a", "b"), 0, "Which", "both", str(n), f"videos/{name}")
        for n, name in enumerate(names)
    ]
    write_samples(local_root / "clips.parquet", samples)
    s3.upload(local_root, "bench")
    logs = []
    for name, root in (("local", local_root), ("remote", to_path(f"s3://{BUCKET}/bench"))):
        config = load_config(
            None,
            [
                f"run.dir={tmp_path}/runs",
                f"run.name={name}",
                "media.workers=1",
                "media.n_frames=4",
                "eval.models={base: base}",
                "student.model=some/model",
            ],
        )
        bench = BenchmarkConfig(format="parquet", root=root, split="clips")
        benchmarks = config.eval.model_copy(update={"benchmarks": {"bench": bench}})
        config = config.model_copy(update={"eval": benchmarks})
        assert evaluate(config).counts["scored"]
        folder = config.run.path / "eval" / "bench"
        logs.append({p.name: p.read_bytes() for p in folder.rglob("*.jsonl")})
    assert logs[0]
    assert {name: _without_times(log) for name, log in logs[0].items()} == {
        name: _without_times(log) for name, log in logs[1].items()
    }


def _without_times(log: bytes) -> bytes:
    import re

    return re.sub(rb'"(latency_s|created|time)": ?[^,}]*', b"", log)


def test_training_and_the_page_read_clips_of_a_store(
    remote: Config, s3: S3, prepared: Path, tmp_path: Path
) -> None:
    prepare.run(remote)
    samples = list(read_samples(remote.data))
    s3.n_gets = s3.n_heads = 0
    infos = media_infos(remote.run.path, remote.data.root, samples, remote.media)
    assert all(info.status == "ok" for info in infos.values())
    assert s3.n_gets == s3.n_heads == 0  # a listing says that no file has changed
    frames, sound = load_media(samples[0], remote.data.root, remote.media, "av")
    here = load_media(samples[0], prepared / "data", remote.media, "av")
    assert frames is not None
    assert sound is not None
    assert (frames.digest, sound.digest) == tuple(each.digest for each in here if each is not None)
    entries = [
        render_all([MediaJob(0, samples[0], root, remote.media)], folder, remote.media, 1)[0]
        for root, folder in (
            (remote.data.root, tmp_path / "a" / "media"),
            (prepared / "data", tmp_path / "b" / "media"),
        )
    ]
    assert entries[0] == entries[1]


# Shards


@pytest.fixture
def built(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A run with a dataset of which two rows fit into a shard."""
    monkeypatch.setattr(export_shards, "ROWS", 2)
    monkeypatch.setattr(export_clips, "AT_ONCE", 2)
    config = make_config()
    for stage in (trace, merge, build):
        stage.run(config)
    return config


def shard_config(config: Config, root: Path, tmp_path: Path) -> Config:
    return load_config(
        None,
        [
            *overrides(config.run.dir.parent),
            f"run.dir={tmp_path}/shards",
            "data.format=webdataset",
            f"data.root={root}",
        ],
    )


@pytest.mark.parametrize("is_remote", [False, True])
def test_shards_come_back_as_the_same_samples_with_the_same_media(
    built: Config, s3: S3, tmp_path: Path, is_remote: bool
) -> None:
    out = to_path(f"s3://{BUCKET}/shards") if is_remote else tmp_path / "out"
    done = exports.run(built, "webdataset", WITH_MEDIA, out)
    n_rows = done.counts["train"]
    names = {path.name for path in out.iterdir()}
    assert "INCOMPLETE.md" not in names
    assert len([name for name in names if name.startswith("train")]) == 2 * -(-n_rows // 2)
    again = shard_config(built, out, tmp_path)
    known = {sample.id: sample for sample in read_samples(built.data)}
    samples = list(read_samples(again.data))
    rows = read_parquet(built.run.path / "dataset" / "train.parquet")
    assert [sample.id for sample in samples] == [row["id"] for row in rows]
    for sample in samples:
        before = known[sample.id]
        for field in ("question", "options", "answer_index", "question_type", "video_id"):
            assert getattr(sample, field) == getattr(before, field)
        media = load_media(sample, again.data.root, again.media, "av")
        here = load_media(before, built.data.root, built.media, "av")
        assert [m and m.digest for m in media] == [m and m.digest for m in here]
    prepare.run(again)
    trace.run(again)
    assert keys(again) <= keys(built)
    hashes = {row["sha256"] for row in iter_parquet(again.run.path / "media.parquet")}
    assert hashes <= {row["sha256"] for row in iter_parquet(built.run.path / "media.parquet")}
    assert "nothing to do" in prepare.run(again).summary
    if is_remote:
        with pytest.raises(ConfigError, match="already exists"):
            exports.run(built, "webdataset", WITH_MEDIA, out)
        assert isinstance(out, StorePath)
        out.remove_tree()


def test_an_upload_that_was_cut_off_is_marked_and_can_be_repeated(
    built: Config, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = to_path(f"s3://{BUCKET}/cut")
    put = StorePath.put

    def fail(self: StorePath, local: Path) -> None:
        if self.name == "train-000001.tar":
            raise OSError(5, "the store failed (SlowDown)", str(self))
        put(self, local)

    monkeypatch.setattr(StorePath, "put", fail)
    with pytest.raises(AvrtError, match=r"cannot be written: the store failed \(SlowDown\)"):
        exports.run(built, "webdataset", WITH_MEDIA, out)
    assert (out / "INCOMPLETE.md").is_file()
    monkeypatch.setattr(StorePath, "put", put)
    exports.run(built, "webdataset", WITH_MEDIA, out)
    assert not (out / "INCOMPLETE.md").exists()
    assert isinstance(out, StorePath)
    out.remove_tree()


def test_every_form_of_export_goes_to_a_store(built: Config, s3: S3) -> None:
    out = to_path(f"s3://{BUCKET}/trl")
    exports.run(built, "trl", WITH_MEDIA, out)
    assert {path.name for path in out.iterdir()} >= {"train.jsonl", "validation.jsonl", "media"}
    assert isinstance(out, StorePath)
    out.remove_tree()


def test_a_shard_without_its_index_is_walked(built: Config, s3: S3, tmp_path: Path) -> None:
    exports.run(built, "webdataset", WITH_MEDIA, tmp_path / "out")
    shard = tmp_path / "out" / "train-000000.tar"
    indexed = dict(read_index(shard))
    plain = tmp_path / "plain"
    plain.mkdir()
    shutil.copyfile(shard, plain / shard.name)
    assert read_index(plain / shard.name) == indexed
    s3.upload(plain, "plain")
    assert read_index(to_path(f"s3://{BUCKET}/plain/{shard.name}")) == indexed


@pytest.mark.parametrize("text", ["", "v1.2 1\nmp4 0 99999999 a.mp4\n", "v1.2 2\nmp4 0 1 a.mp4\n"])
def test_an_index_that_does_not_fit_its_shard_is_refused(
    built: Config, tmp_path: Path, text: str
) -> None:
    exports.run(built, "webdataset", WITH_MEDIA, tmp_path / "out")
    shard = tmp_path / "out" / "train-000000.tar"
    shard.with_suffix(".idx").write_text(text)
    shard.write_bytes(shard.read_bytes())  # a change, so that the index is read
    with pytest.raises(DataError, match="not the index of the shard beside it"):
        read_index(shard)


def test_what_is_no_shard_is_refused_and_a_member_that_is_not_there_is_missing(
    built: Config, tmp_path: Path
) -> None:
    exports.run(built, "webdataset", WITH_MEDIA, tmp_path / "out")
    media = MediaConfig(cache_dir=tmp_path / "copies")
    with pytest.raises(AvrtError, match="missing") as failed:
        copy_digest(tmp_path / "out" / "train-000000.tar" / "none.mp4", media)
    assert getattr(failed.value, "error_class", None) == "missing"
    (tmp_path / "out" / "train-000009.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(DataError, match="not a tar file"):
        list(read_samples(shard_config(built, tmp_path / "out", tmp_path).data))


def test_a_sound_of_its_own_stays_as_it_is(built: Config, tmp_path: Path) -> None:
    """The extracted FLAC has 16 bits; the sound file of a sample has what it had."""
    root = built.data.root
    encode_clip(root / "sound.wav", n_frames=0, sound=tone(0.7, 350))
    row = next(iter(iter_parquet(built.run.path / "dataset" / "train.parquet")))
    before = Sample(
        row["id"], "q", ("a", "b"), 0, "Which", "both", "c", video=row["video"], audio="sound.wav"
    )
    path = built.run.path / "dataset" / "train.parquet"
    import pyarrow.parquet as pq

    from avrt.runs import write_parquet

    schema = pq.read_schema(path)
    write_parquet(path, [{**row, "audio": "sound.wav"}], schema)
    exports.run(built, "webdataset", WITH_MEDIA, tmp_path / "out")
    (sample,) = read_samples(shard_config(built, tmp_path / "out", tmp_path).data)
    assert sample.audio is not None
    assert sample.audio.endswith(".sound.wav")
    again = load_media(sample, tmp_path / "out", built.media, "av")
    here = load_media(before, root, built.media, "av")
    assert [m and m.digest for m in again] == [m and m.digest for m in here]
    with local_file(tmp_path / "out" / sample.audio, built.media) as copy:
        assert copy.read_bytes() == (root / "sound.wav").read_bytes()
