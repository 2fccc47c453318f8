"""Facts about shards: several processes ask, the last command derives the files of one process."""

from __future__ import annotations

import shutil

import pytest

from avrt.ask.budget import Budget, Shard
from avrt.config import Config
from avrt.errors import ConfigError
from avrt.generate import build, merge, trace
from scripted_run import MakeConfig


def derived(config: Config) -> dict[str, bytes]:
    folders = ("traces", "dataset")
    files = (path for name in folders for path in (config.run.path / name).iterdir())
    return {path.name: path.read_bytes() for path in files}


def test_two_shards_and_a_last_command_make_the_files_of_one_process(
    make_config: MakeConfig,
) -> None:
    config, whole = make_config(), make_config(None, "run.name=whole")
    shutil.copytree(config.run.path, whole.run.path)
    for stage in (trace, merge):
        stage.run(whole)
        for index in (1, 2):
            said = stage.run(config, Budget(shard=Shard(index, 2))).summary
            assert f"its shard, {index}/2 of 7 samples" in said
            assert "without --shard, after all shards are done, goes on" in said
        stage.run(config, Budget(calls=0))
    for run in (config, whole):
        build.run(run)
    assert derived(config) == derived(whole)
    names = sorted(path.name for path in config.run.path.glob("ledger*.sqlite"))
    assert names == ["ledger.1of2.sqlite", "ledger.2of2.sqlite", "ledger.sqlite"]


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", ""])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write PART/PARTS, such as 1/4"):
        Shard.parse(text)
