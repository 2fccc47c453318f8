"""Facts about published folders: what they hold loads, what they say was measured, and nothing of
this machine is in them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import avrt.engines.torchcompat
from avrt.cli import cli
from avrt.cli.demo import QUICK
from avrt.config import Config, load_config
from avrt.evaluate.results import read_results
from avrt.generate import build, merge, trace
from avrt.publish.check import Private, find_problems
from avrt.runs import read_parquet
from avrt.train.checkpoint import load_student
from clips import encode_clip, tone
from fake_hub import Hub
from scripted_run import MakeConfig

datasets = pytest.importorskip("datasets")
hub = pytest.importorskip("huggingface_hub")
DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
COMMAND = (str(DEMO), *QUICK)
NOTHING = Private(frozenset(), ())


@pytest.fixture
def demo(quick_demo: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Config:
    """The configuration of a finished quick demo, in whose folder the test runs."""
    monkeypatch.chdir(quick_demo[0])
    return load_config(DEMO, QUICK)


def publish(kind: str, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["publish", kind, *map(str, arguments)])


def published(kind: str, out: Path, *arguments: object) -> Path:
    done = publish(kind, *COMMAND, "--output", out, *arguments)
    assert done.exit_code == 0, done.output
    return out


def all_bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def examples(folder: Path) -> list[str]:
    """The Python in a card."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


# What is written


def test_the_dataset_loads_as_its_card_says_with_every_row(
    demo: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library's own cache takes another folder of this name for the same.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    out = published("dataset", tmp_path / "out")
    (code,) = examples(out)
    found: dict[str, Any] = {}
    exec(code.replace('"NAME/ID"', repr(str(out))), found)
    run = demo.run.path
    for split in ("train", "validation"):
        rows = read_parquet(run / "dataset" / f"{split}.parquet")
        assert found["traces"][split]["id"] == [row["id"] for row in rows]
        assert found["traces"][split]["av_reasoning"] == [row["av_reasoning"] for row in rows]
    assert len(found["teachers"]) == len(read_parquet(run / "traces" / "teachers.parquet"))
    assert len(found["rejected"]) == len(read_parquet(run / "dataset" / "rejected.parquet"))


def test_the_model_loads_as_its_card_says_and_answers_about_a_clip(
    demo: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = published("model", tmp_path / "out")
    encode_clip(tmp_path / "clip.mp4", n_frames=8, size=(56, 56), sound=tone(0.5, 440))
    trained, _ = load_student(str((demo.run.path / "grpo" / "model").resolve()))
    monkeypatch.setattr(hub, "snapshot_download", lambda _repo: str(out))
    monkeypatch.chdir(tmp_path)
    load, ask = examples(out)
    found: dict[str, Any] = {}
    exec(load, found)
    assert type(found["processor"]).__name__ == "Qwen2_5OmniProcessor"
    weights = found["model"].state_dict()
    assert all(value.equal(weights[name]) for name, value in trained.state_dict().items())
    exec(ask, found)
    assert found["reply"].error is None
    assert found["reply"].n_frame_tokens > 0
    assert found["reply"].n_audio_tokens > 0
    assert found["student"].prompt.endswith("avrt_prompt.txt")


# What the cards say


def test_a_models_card_has_the_measured_numbers_with_intervals_and_protocols(
    demo: Config, tmp_path: Path
) -> None:
    card = hub.ModelCard.load(published("model", tmp_path / "out") / "README.md")
    stated = {
        (result.dataset_name, result.dataset_config): (result.metric_value, result.metric_args)
        for result in card.data.eval_results
    }
    own = [result for result in read_results(demo) if result.model == "sft_rl"]
    assert len(own) == len(stated) == 7
    for result in own:
        value, details = stated[result.benchmark, result.modality]
        low, high = result.accuracy.interval
        assert value == round(100 * result.accuracy.value, 2)
        assert details == {
            "low": round(100 * low, 2),
            "high": round(100 * high, 2),
            "level": 0.95,
            "n": 6,
            "protocol": result.protocol_id,
        }
        assert f"Protocol {result.protocol_id}: " in card.content
        assert f"[{100 * low:.1f}, {100 * high:.1f}], n = 6" in card.content


def test_cards_name_the_models_their_licences_and_what_made_them(
    demo: Config, tmp_path: Path
) -> None:
    kinds = {"dataset": ("prepare", "build"), "model": ("build", "sft", "grpo")}
    for kind, stages in kinds.items():
        out = published(kind, tmp_path / kind)
        text = (out / "README.md").read_text(encoding="utf-8")
        record = json.loads((out / "avrt.json").read_text(encoding="utf-8"))
        for model in ("world:vision_teacher", "world:audio_teacher", "world:merger"):
            assert f"| {model} | Apache-2.0: a part of AVRT |" in text
        assert record["fingerprint"] in text
        assert {"avrt": record["avrt"]} == {"avrt": avrt.__version__}
        for stage in stages:
            manifest = json.loads((demo.run.path / "manifests" / f"{stage}.json").read_text())
            assert record["stages"][stage] == manifest
        for command in record["commands"]:
            assert command in text
        assert set(record["files"]) == set(all_bytes(out)) - {"avrt.json"}
    assert "The thinker of `world:student`" in (tmp_path / "model" / "README.md").read_text()


def test_a_student_without_sft_has_the_terms_of_its_base_alone(
    demo: Config, tmp_path: Path
) -> None:
    out = published("model", tmp_path / "out", "--student", "grpo-base", "--base", "org/base-3B")
    text = (out / "README.md").read_text(encoding="utf-8")
    assert "base_model: org/base-3B" in text
    assert "teacher" not in text.split("## Terms")[1]
    assert "| base | org/base-3B | not known to AVRT: ask its authors |" in text


@pytest.fixture
def built(make_config: MakeConfig) -> Config:
    """A run with a dataset of scripted models, two of them with names that presets know."""
    config = make_config(
        None,
        "teachers.vision.model=moonshotai/Kimi-VL-A3B-Thinking",
        "teachers.audio.model=audio-flamingo-3-think",
    )
    for stage in (trace, merge, build):
        stage.run(config)
    return config


def settings_of(config: Config) -> list[str]:
    return [str(config.run.path / "config.yaml")]


def test_licences_come_from_the_presets_and_unknown_ones_are_asked_for(
    built: Config, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = publish("dataset", *settings_of(built), "--output", out)
    assert done.exit_code == 0, done.output
    assert 'no licence is known of: merger; name each, as --licence merger="NAME:' in done.output
    text = (out / "README.md").read_text(encoding="utf-8")
    assert "| audio | audio-flamingo-3-think | NVIDIA OneWay Noncommercial: " in text
    assert "| vision | moonshotai/Kimi-VL-A3B-Thinking | MIT (check): " in text
    assert "| questions | avqa | not stated; clips are VGG-Sound's |" in text
    assert "No student of the run was trained on this state" in text
    assert "Noncommercial" in (out / "LICENSE.md").read_text(encoding="utf-8")
    card = hub.DatasetCard.load(out / "README.md")
    assert (card.data.license, card.data.license_link) == ("other", "LICENSE.md")
    named = ("--licence", "merger=MIT", "--licence", "vision=MIT: checked")
    done = publish("dataset", *settings_of(built), "--output", out, *named)
    assert done.exit_code == 0, done.output
    assert "no licence" not in done.output
    assert "| vision | moonshotai/Kimi-VL-A3B-Thinking | MIT: checked |" in (
        out / "README.md"
    ).read_text(encoding="utf-8")
    wrong = publish("dataset", *settings_of(built), "--licence", "ears=MIT")
    assert wrong.exit_code == 2
    assert "no part of it is ears; known: " in wrong.output


def test_a_published_dataset_is_imported_and_published_again(demo: Config, tmp_path: Path) -> None:
    first, again = published("dataset", tmp_path / "first"), tmp_path / "again"
    settings = (f"run.dir={tmp_path / 'runs'}", "run.name=again", f"data.root={tmp_path}")
    done = CliRunner().invoke(cli, ["import", "avrt-20k", str(first), *settings])
    assert done.exit_code == 0, done.output
    done = publish("dataset", *settings, "--output", again)
    assert done.exit_code == 0, done.output
    for split in ("train", "validation"):
        before, after = (
            datasets.load_dataset(str(folder), split=split, cache_dir=str(tmp_path / "cache"))
            for folder in (first, again)
        )
        assert before["id"] == after["id"]
        assert before["av_reasoning"] == after["av_reasoning"]
    text = (again / "README.md").read_text(encoding="utf-8")
    assert "| audio | world:audio_teacher | Apache-2.0: a part of AVRT |" in text
    assert "avrt import avrt-20k FOLDER avrt.yaml" in text
    assert "no licence is known of: set; name each" in done.output


# What is refused


def test_a_folder_is_rebuilt_in_place_only_where_avrt_wrote_it(
    demo: Config, tmp_path: Path
) -> None:
    out = published("dataset", tmp_path / "out")
    (out / ".cache").mkdir()  # of an upload
    (out / ".cache" / "state").write_text("")
    before = all_bytes(out)
    del before[".cache/state"]
    assert all_bytes(published("dataset", out)) == before
    other = publish("report", *COMMAND, "--output", out)
    assert "holds a published dataset; name another --output" in other.output
    (out / "paper.pdf").write_bytes(b"mine")
    foreign = publish("dataset", *COMMAND, "--output", out)
    assert "paper.pdf: not written by AVRT; name another --output" in foreign.output
    (out / "paper.pdf").unlink()
    (out / "README.md").write_text("mine")
    changed = publish("dataset", *COMMAND, "--output", out)
    assert "README.md: changed since AVRT wrote it" in changed.output
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "notes.txt").write_text("mine")
    strange = publish("dataset", *COMMAND, "--output", stranger)
    assert "notes.txt is not AVRT's" in strange.output
    assert {done.exit_code for done in (other, foreign, changed, strange)} == {2}
    assert all_bytes(out) == {**before, "README.md": b"mine"}
    assert all_bytes(stranger) == {"notes.txt": b"mine"}


def test_what_is_not_finished_is_refused_with_the_command(tmp_path: Path) -> None:
    settings = (f"run.dir={tmp_path}", "run.name=none")
    for kind, command in (("dataset", "avrt build"), ("model", "avrt sft")):
        done = publish(kind, *settings)
        assert done.exit_code == 2
        assert f"run `{command}`" in done.output
    done = publish("model", *settings, "--student", "mine")
    assert "--student mine: not a training; name sft" in done.output


def test_results_of_another_state_of_the_model_are_refused(demo: Config, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "demo-quick"
    for name in ("manifests", "dataset", "eval", "sft/model", "grpo/model"):
        shutil.copytree(demo.run.path / name, run / name)
    shutil.copyfile(demo.run.path / "config.yaml", run / "config.yaml")
    path = run / "grpo" / "model" / "generation_config.json"
    path.write_text(path.read_text().replace("{", "{ ", 1))
    done = publish("model", *COMMAND, f"run.dir={tmp_path / 'runs'}")
    assert done.exit_code == 2
    assert "results of another state of grpo; delete that folder" in done.output
    assert not (run / "publish").exists()


def test_secrets_paths_and_media_keep_a_folder_from_being_published(
    built: Config, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert publish("dataset", *settings_of(built), "--output", out).exit_code == 0
    (row, *_) = pq.read_table(out / "data" / "traces" / "train.parquet").to_pylist()
    hidden = Private(frozenset({row["question"]}), (row["think"],))
    assert list(find_problems(out, "dataset", NOTHING, False)) == []
    assert any("train.parquet: row 1 holds a secret" in each
               for each in find_problems(out, "dataset", hidden, False))  # fmt: skip
    home, key = "/" + "home/me", "hf_" + "a1B2" * 8
    for name, text in {"a.json": f'"{home}/x"', "b.md": f"see {key}", "c.mp4": ""}.items():
        (out / name).write_text(text)
    problems = "\n".join(find_problems(out, "dataset", NOTHING, False))
    assert f"a.json:1: holds the path {home[:7]}" in problems
    assert "b.md: holds a key (hf_a1B" in problems
    assert key not in problems
    assert "c.mp4: media, which may not be given on" in problems


def test_the_value_of_an_engines_variable_is_a_secret(
    built: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row, *_) = read_parquet(built.run.path / "dataset" / "train.parquet")
    monkeypatch.setenv("OPENAI_API_KEY", row["question"])
    done = publish("dataset", *settings_of(built))
    assert done.exit_code == 2
    assert "may not be published so:" in done.output
    assert "holds a secret of this machine" in done.output
    assert not (built.run.path / "publish").exists()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("processor_config.json", "cannot be read back: "),
        ("chat_template.jinja", "no chat template"),
        ("model.safetensors", "cannot be read back: "),
        ("generation_config.json", "generation_config.json is missing"),
    ],
)
def test_a_model_without_a_file_is_found(demo, tmp_path, name, problem) -> None:
    out = published("model", tmp_path / "out")
    (out / name).unlink()
    assert any(problem in each for each in find_problems(out, "model", NOTHING, False))


def test_a_model_with_other_weights_than_it_says_or_no_fields_is_found(demo, tmp_path) -> None:
    out = published("model", tmp_path / "out")
    config = json.loads((out / "config.json").read_text())
    config["text_config"]["hidden_size"] *= 2
    (out / "config.json").write_text(json.dumps(config))
    (out / "README.md").write_text("# no fields")
    problems = "\n".join(find_problems(out, "model", NOTHING, False))
    assert "the weights do not fit config.json: of another shape" in problems
    assert "README.md: the field license is missing" in problems


# The way to the Hub


@pytest.fixture
def on_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on loopback, which this process takes for the Hub, and a token for it."""
    with Hub() as server:
        monkeypatch.setattr(hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        yield server
        hub.utils.close_session()


def test_without_a_token_nothing_is_made(
    demo: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = (*COMMAND, "--output", out, "--push")
    assert "name the repository with --repo NAME/ID" in publish("dataset", *arguments).output
    offline = publish("dataset", *arguments, "--repo", "me/traces")
    assert "HF_HUB_OFFLINE is set" in offline.output
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    done = publish("dataset", *arguments, "--repo", "me/traces")
    assert done.exit_code == 2
    assert "no token for the Hub; run `hf auth login`, or set HF_TOKEN" in done.output
    for repo in ("traces", "me/a b", "me/x/y"):
        done = publish("dataset", *COMMAND, "--output", out, "--repo", repo)
        assert done.exit_code == 2
        assert f"--repo {repo}: " in done.output
    done = publish("dataset", *COMMAND, "--output", out, "--page", "page")
    assert "--page page: must be NAME/ID" in done.output
    assert not out.exists()


def test_a_push_works_in_a_process_that_has_loaded_nothing_of_the_hub_before() -> None:
    """`huggingface_hub` has its modules as attributes only once something has imported them."""
    code = """
from avrt.errors import ConfigError
from avrt.publish.hub import require_token
try:
    require_token()
except ConfigError as error:
    print(error)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "HF_HUB_OFFLINE is set" in done.stdout


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_a_push_creates_a_private_repository_with_the_folders_files(
    demo: Config, tmp_path: Path, on_loopback: Hub, kind: str
) -> None:
    out = tmp_path / "out"
    command = (*COMMAND, "--output", out, "--repo", "me/it", "--page", "me/page", "--push")
    done = publish(kind, *command)
    assert done.exit_code == 0, done.output
    repository = on_loopback.repositories[f"{kind}s/me/it"]
    assert repository.private
    sent = {file: content for file, content in all_bytes(out).items() if ".cache" not in file}
    assert repository.files == sent
    assert "Bearer hf_mine" in on_loopback.tokens
    assert f"pushed: {on_loopback.url}" in done.output
    assert '"me/it"' in sent["README.md"].decode(), "the example names the repository"
    assert "(https://huggingface.co/spaces/me/page)" in sent["README.md"].decode()


def test_a_page_becomes_a_static_space_without_media(
    demo: Config, tmp_path: Path, on_loopback: Hub
) -> None:
    out = tmp_path / "out"
    done = publish("report", *COMMAND, "--output", out, "--repo", "me/it", "--push", "--public")
    assert done.exit_code == 0, done.output
    repository = on_loopback.repositories["spaces/me/it"]
    assert (repository.private, repository.sdk) == (False, "static")
    pages = {"index.html", "assets/app.js", "data/report.js", "data/index.js", "data/items-0000.js"}
    assert repository.files.keys() >= {*pages, "README.md", "avrt.json"}
    assert not (out / "media").exists()
    card = hub.SpaceCard.load(out / "README.md")
    assert (card.data.sdk, card.data.app_file) == ("static", "index.html")
    assert json.loads((out / "avrt.json").read_text())["commands"][-2:] == [
        "avrt grpo avrt.yaml grpo.init=base grpo.output=grpo-base",
        "avrt grpo avrt.yaml grpo.init=sft grpo.output=grpo",
    ]
    shutil.copytree(demo.run.path / "report" / "media", out / "media")
    assert list(find_problems(out, "report", NOTHING, True)) == []
    problems = list(find_problems(out, "report", NOTHING, False))
    assert len(problems) == sum(p.suffix != ".json" for p in (out / "media").iterdir()) > 0


def test_a_later_push_takes_away_only_what_avrt_had_pushed(
    demo: Config, tmp_path: Path, on_loopback: Hub
) -> None:
    command = (*COMMAND, "--output", tmp_path / "out", "--repo", "me/it", "--push")
    assert publish("dataset", *command, "--licence", "questions=MIT").exit_code == 0
    repository = on_loopback.repositories["datasets/me/it"]
    assert "LICENSE.md" in repository.files
    repository.files["paper.pdf"] = b"of a person"
    done = publish("dataset", *command)
    assert done.exit_code == 0, done.output
    assert "LICENSE.md" not in repository.files
    assert repository.files["paper.pdf"] == b"of a person"


def test_the_repository_of_another_is_left_alone_and_a_refusal_is_explained(
    demo: Config, tmp_path: Path, on_loopback: Hub
) -> None:
    command = (*COMMAND, "--output", tmp_path / "out", "--repo", "me/it", "--push")
    on_loopback.refuses = True
    refused = publish("dataset", *command)
    assert refused.exit_code == 1
    assert f"--push: me/it at {on_loopback.url}: " in refused.output
    assert "see that the token may write there, then repeat the command" in refused.output
    on_loopback.refuses = False
    assert publish("dataset", *command).exit_code == 0
    repository = on_loopback.repositories["datasets/me/it"]
    repository.files = {"data.csv": b"1,2"}
    other = publish("dataset", *command)
    assert other.exit_code == 2
    assert "holds data.csv, which AVRT did not write" in other.output
    assert repository.files == {"data.csv": b"1,2"}


def test_nothing_is_pushed_while_a_licence_is_unknown(built: Config, on_loopback: Hub) -> None:
    done = publish("dataset", *settings_of(built), "--repo", "me/it", "--push")
    assert done.exit_code == 2
    assert "--push: no licence is known of: merger" in done.output
    assert on_loopback.repositories == {}
    assert not (built.run.path / "publish").exists()
