"""What AVRT says of the published sizes, from their configurations alone."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import official
from avrt.cli import cli
from avrt.config import StudentConfig
from avrt.engines.names import published_name
from avrt.train.checkpoint import count_parameters, describe_student, freeze_towers
from avrt.train.launch import deepspeed_settings

PARAMETERS = {
    "3b": {
        "language_model": 3_085_938_688,
        "lm_head": 311_164_928,
        "visual": 668_684_288,
        "audio_tower": 637_676_544,
    },
    "7b": {
        "language_model": 7_070_619_136,
        "lm_head": 544_997_376,
        "visual": 676_550_144,
        "audio_tower": 639_647_232,
    },
}
TOTAL = {"3b": 4_703_464_448, "7b": 8_931_813_888}
"""That of 7B stands in the index of published weights."""
TENSORS = {
    "3b": {"model": 434, "visual": 518, "audio_tower": 489, "lm_head": 1},
    "7b": {"model": 338, "visual": 518, "audio_tower": 489, "lm_head": 1},
}
"""By the first part of the published name."""
TRAINED = {"3b": 3_397_103_616, "7b": 7_615_616_512}
PROJECTIONS = {"3b": 36_708_608 + 2_623_488, "7b": 44_574_464 + 4_591_104}
BYTES_BF16 = 2


@cache
def on_meta(size: str) -> Any:
    with torch.device("meta"):
        return official.Qwen2_5OmniThinkerForConditionalGeneration(official.thinker_config(size))


def n_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def write_hollow(folder: Path, size: str) -> Path:
    """A checkpoint whose weights take no room on disk: a header, and a hole where numbers lie."""
    folder.mkdir()
    header: dict[str, Any] = {}
    end = 0
    for name, parameter in on_meta(size).named_parameters():
        begin, end = end, end + BYTES_BF16 * parameter.numel()
        place = {"dtype": "BF16", "shape": list(parameter.shape), "data_offsets": [begin, end]}
        header[published_name(name)] = place
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    config = official.thinker_config(size).to_dict()
    config["architectures"] = ["Qwen2_5OmniThinkerForConditionalGeneration"]
    (folder / "config.json").write_text(json.dumps(config))
    official.new_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def hollow(tmp_path_factory) -> dict[str, Path]:
    """A hollow checkpoint of each size."""
    root = tmp_path_factory.mktemp("hollow")
    return {size: write_hollow(root / size, size) for size in TOTAL}


@pytest.mark.parametrize("size", TOTAL)
def test_the_thinker_has_the_published_number_of_parameters(size):
    model = on_meta(size)
    parts = {**dict(model.model.named_children()), "lm_head": model.lm_head}
    assert {name: n_parameters(parts[name]) for name in PARAMETERS[size]} == PARAMETERS[size]
    assert n_parameters(model) == TOTAL[size]


@pytest.mark.parametrize("size", TOTAL)
def test_tensors_have_the_published_names(size):
    names = [published_name(name) for name, _ in on_meta(size).named_parameters()]
    starts = [name.split(".")[0] for name in names]
    assert {start: starts.count(start) for start in starts} == TENSORS[size]
    assert {"model.layers.0.self_attn.q_proj.bias", "visual.merger.mlp.2.weight"} < {*names}


@pytest.mark.parametrize("size", TOTAL)
def test_the_towers_are_frozen_and_all_else_trains(size):
    model = on_meta(size)
    for train_projections in (True, False):
        freeze_towers(model, train_projections)
        trained = TRAINED[size] + train_projections * PROJECTIONS[size]
        frozen = TOTAL[size] - trained
        assert count_parameters(model) == {"trainable": trained, "frozen": frozen}


@pytest.mark.parametrize("size", TOTAL)
def test_describe_prints_the_parts(hollow, size):
    result = CliRunner().invoke(cli, ["checkpoint", "describe", str(hollow[size])])
    assert result.exit_code == 0, result.output
    lines = {line.split("  ")[0]: line.split() for line in result.output.splitlines()}
    parameters = PARAMETERS[size]
    embeddings = parameters["lm_head"]
    expected = {
        "embeddings": (embeddings, "yes"),
        "language model": (parameters["language_model"] - embeddings, "yes"),
        "head": (parameters["lm_head"], "yes"),
    }
    for part, (number, trains) in expected.items():
        assert f"{number:,}" in lines[part]
        assert lines[part][-2:] == ["BF16", trains]
    assert lines["vision tower"][-1] == lines["audio projection"][-1] == "no"
    assert f"{TOTAL[size]:,}" in lines["total"]
    assert f"{TOTAL[size] * BYTES_BF16 / 2**20:,.2f}" in lines["total"]
    frozen = TOTAL[size] - TRAINED[size]
    assert f"training: {TRAINED[size]:,} parameters train, {frozen:,} are frozen" in result.output


@pytest.mark.parametrize("size", TOTAL)
def test_a_dry_run_needs_configuration_and_processor_alone(hollow, size, tmp_path):
    for path in hollow[size].iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = [f"student.model={tmp_path}", f"run.dir={tmp_path / 'runs'}", "run.name=none"]
    result = CliRunner().invoke(cli, ["sft", *settings, "--dry-run"])
    assert result.exit_code == 0, result.output
    frozen = TOTAL[size] - TRAINED[size]
    assert f"{TRAINED[size]:,} trainable, {frozen:,} frozen parameters" in result.output


@pytest.mark.parametrize(("size", "adapters"), [("3b", 29_933_568), ("7b", 40_370_176)])
def test_adapters_go_into_every_linear_layer_of_the_language_model(hollow, size, adapters):
    pytest.importorskip("peft")
    settings = StudentConfig.model_validate({"lora": {"rank": 16}})
    described = describe_student(str(hollow[size]), settings)
    assert described is not None
    assert described[0] == {"trainable": adapters, "frozen": TOTAL[size]}
    shapes = official.TEXT[size]
    hidden, inner = shapes["hidden_size"], shapes["intermediate_size"]
    keys = shapes["num_key_value_heads"] * hidden // shapes["num_attention_heads"]
    layer = 2 * (hidden + hidden) + 2 * (hidden + keys) + 3 * (hidden + inner)
    assert 16 * layer * shapes["num_hidden_layers"] == adapters


def test_zero2_reduces_the_gradients_of_3b_in_pieces_and_keeps_its_optimizer_on_the_cpu():
    settings = deepspeed_settings("zero2")["zero_optimization"]
    assert settings["stage"] == 2
    assert settings["offload_optimizer"]["device"] == "cpu"
    pieces = (settings["reduce_bucket_size"], settings["allgather_bucket_size"])
    assert all(10 * piece < TRAINED["3b"] for piece in pieces)
    # A tensor larger than a piece is reduced alone, which DeepSpeed does only with this setting.
    largest = max(parameter.numel() for parameter in on_meta("3b").parameters())
    assert largest > settings["reduce_bucket_size"]
    assert settings["contiguous_gradients"] is True
