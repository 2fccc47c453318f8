"""Facts about addresses of stores: what is refused at once, and that local data never meet them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from avrt.cli import cli
from avrt.config import dump_config, load_config
from avrt.errors import ConfigError
from avrt.stores import StorePath, to_path
from scripted_run import MakeConfig


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAABCDEFGHIJKLMNOP:secret123@bucket/data",
        "s3://bucket/data?X-Amz-Signature=secret123",
        "https://account.blob/data?sig=secret123",
        "az://secret123@account/data",
        "s3://bucket/data#secret123",
    ],
)
@pytest.mark.parametrize("setting", ["data.root", "media.payloads", "eval.benchmarks.b.root"])
def test_an_address_with_a_key_is_refused_and_never_shown(url: str, setting: str) -> None:
    fixed = ["eval.benchmarks.b.format=parquet"]
    with pytest.raises(ConfigError, match="credentials in the environment") as refused:
        load_config(None, [*fixed, f"{setting}={url}"])
    message = str(refused.value).replace("secret123@account", "***")
    if "?" in url or ":secret" in url:
        assert "secret123" not in message
    assert setting in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.root=s3://", "names no folder"),
        ("data.root=s4://bucket/data", "no known kind of store: s4"),
        ("run.dir=s3://bucket/runs", "need a folder of this machine"),
        ("media.cache_gb=0", "greater than 0"),
    ],
)
def test_impossible_places_are_refused_with_the_remedy(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(None, [override])


def test_the_hub_is_not_fetched_into_a_store() -> None:
    with pytest.raises(ConfigError, match="leave hub out, or set root to a folder"):
        load_config(None, ["data.hub=org/set", "data.root=s3://bucket/data"])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from avrt.datasets import prepare

    for scheme, package in (("gs", "gcsfs"), ("az", "adlfs")):
        monkeypatch.setitem(sys.modules, package, None)
        config = load_config(None, [f"data.root={scheme}://bucket/data", f"run.dir={tmp_path}"])
        with pytest.raises(ConfigError, match=f"{package} is missing; pip install {package}"):
            prepare.run(config)


def test_commands_that_write_here_refuse_a_store(make_config: MakeConfig) -> None:
    done = CliRunner().invoke(cli, ["world", "make", "s3://bucket/world"])
    assert done.exit_code == 2
    assert "is in a store; name a folder of this machine" in done.output
    done = CliRunner().invoke(cli, ["demo", "data.root=s3://bucket/world"])
    assert done.exit_code == 2
    assert "the demo makes its world here" in done.output


def test_an_address_stays_what_it_is_through_settings_joins_and_processes() -> None:
    config = load_config(None, ["data.root=s3://bucket/some/data", "media.payloads=gs://b/p"])
    root = config.data.root
    assert str(root) == "s3://bucket/some/data"
    assert "root: s3://bucket/some/data\n" in dump_config(config)
    clip = pickle.loads(pickle.dumps(root / "videos" / "a.mp4"))
    assert isinstance(clip, StorePath)
    assert (str(clip), clip.name, clip.suffix) == (f"{root}/videos/a.mp4", "a.mp4", ".mp4")
    assert clip == root / "videos/a.mp4"
    assert clip.parent.parent == root
    assert to_path("file:///data/x") == Path("/data/x")


def test_no_one_takes_it_for_a_file_of_this_machine() -> None:
    with pytest.raises(TypeError, match="has no path on this machine"):
        open(StorePath("s3://bucket/a"))  # noqa: SIM115


def test_local_data_never_import_fsspec(prepared: Path) -> None:
    code = (
        "import sys; from avrt.config import MediaConfig; from avrt.media import read_clip;"
        "from avrt.datasets import prepare; from pathlib import Path;"
        "read_clip(Path(sys.argv[1]), MediaConfig(), 'av'); assert 'fsspec' not in sys.modules"
    )
    clip = prepared / "data" / "videos" / "clip0_000001.mp4"
    subprocess.run([sys.executable, "-c", code, str(clip)], check=True)


def test_memory_is_a_store_too() -> None:
    root = to_path("memory://avrt-test/data")
    (root / "b" / "x.txt").write_bytes(b"abc")
    (root / "a.txt").write_bytes(b"12")
    assert [path.name for path in root.iterdir()] == ["a.txt", "b"]
    assert (root / "b").is_dir()
    assert (root / "b/x.txt").is_file()
    assert not (root / "c").exists()
    assert (root / "b/x.txt").read_text() == "abc"
    with (root / "b/x.txt").open() as file:
        assert file.read() == "abc"
    assert (root / "b/x.txt").read_ranges([(0, 1), (1, 2)]) == [b"a", b"bc"]
    first = (root / "a.txt").stat()
    (root / "a.txt").write_bytes(b"34")
    assert (root / "a.txt").stat().st_mtime_ns != first.st_mtime_ns
    assert [path.name for path in root.glob("*.txt")] == ["a.txt"]
    root.remove_tree()
    assert not root.exists()
