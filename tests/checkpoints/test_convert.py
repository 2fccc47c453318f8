from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from avrt.checkpoints import convert, tensors
from avrt.cli import cli
from avrt.config import StudentConfig
from avrt.engines.weights import load
from avrt.errors import ConfigError, DataError
from avrt.train import describe
from avrt.train.checkpoint import load_student
from omni import MODEL, write_omni


@pytest.fixture(scope="session", params=["bfloat16, tied", "float32, own head"])
def omni(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("omni") / "Qwen2.5-Omni"
    dtype, head = request.param.split(", ")
    write_omni(folder, getattr(torch, dtype), tied=head == "tied")
    return folder


@pytest.fixture(scope="session")
def small_omni(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("omni") / "small"
    write_omni(folder, torch.bfloat16, tied=True)
    return folder


@pytest.fixture
def thinker(small_omni, tmp_path) -> Path:
    convert.extract(small_omni, tmp_path / "thinker")
    return tmp_path / "thinker"


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, read by safetensors itself."""
    return {
        name: tensor
        for path in folder.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        tensor.dtype == second[name].dtype
        and tensor.view(torch.uint8).equal(second[name].view(torch.uint8))
        for name, tensor in first.items()
    )


def test_extracted_and_merged_again_is_the_same_to_the_bit(omni, tmp_path):
    assert len(list(omni.glob("*.safetensors"))) > 3
    convert.extract(omni, tmp_path / "thinker")
    convert.merge(tmp_path / "thinker", omni, tmp_path / "whole")
    assert same(all_tensors(omni), all_tensors(tmp_path / "whole"))
    for path in omni.iterdir():
        if path.name == "config.json":
            assert json.loads(path.read_text()) == json.loads(
                (tmp_path / "whole/config.json").read_text()
            )
        elif path.suffix != ".safetensors" and path.name != tensors.INDEX:
            assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes(), path.name
    assert not (tmp_path / "thinker" / "spk_dict.pt").exists()


def test_extracted_thinker_is_the_one_inside_and_trains(omni, tmp_path):
    convert.extract(omni, tmp_path / "thinker")
    inside = load(str(omni), device="cpu")
    alone = load(str(tmp_path / "thinker"), device="cpu")
    assert type(alone.model) is type(inside.model)
    assert same(inside.model.state_dict(), alone.model.state_dict())
    settings = json.loads((tmp_path / "thinker/config.json").read_text())
    assert settings["model_type"] == "qwen2_5_omni_thinker"
    assert settings["dtype"] == json.loads((omni / "config.json").read_text())["dtype"]
    load_student(str(tmp_path / "thinker"))


def test_trained_thinker_in_the_whole_model_gives_its_logits(omni, tmp_path):
    convert.extract(omni, tmp_path / "thinker")
    trained = load(str(tmp_path / "thinker"), device="cpu").model
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(torch.randn_like(parameter).mul_(0.01))
    trained.save_pretrained(tmp_path / "trained")
    text = convert.merge(tmp_path / "trained", omni, tmp_path / "whole")
    before, after = all_tensors(omni), all_tensors(tmp_path / "whole")
    own = [name for name in before if not name.startswith("thinker.")]
    assert same({name: before[name] for name in own}, {name: after[name] for name in own})
    assert ("--cast" in text) == (before["thinker.model.norm.weight"].dtype == torch.bfloat16)

    ids = torch.arange(20, 40)[None]
    inside = load(str(tmp_path / "whole"), device="cpu").model
    with torch.no_grad():
        torch.testing.assert_close(
            inside(input_ids=ids).logits, trained(input_ids=ids).logits, atol=0, rtol=0
        )

    convert.merge(tmp_path / "trained", omni, tmp_path / "cast", cast=True)
    cast = all_tensors(tmp_path / "cast")
    assert {name: tensor.dtype for name, tensor in cast.items()} == {
        name: tensor.dtype for name, tensor in before.items()
    }
    name = "thinker.model.norm.weight"
    assert cast[name].equal(after[name].to(cast[name].dtype))


def test_export_for_vllm_has_its_layout_and_leads_back(thinker, tmp_path):
    convert.export_vllm(thinker, tmp_path / "served")
    settings = json.loads((tmp_path / "served/config.json").read_text())
    assert settings["architectures"] == ["Qwen2_5OmniForConditionalGeneration"]
    assert (settings["model_type"], settings["enable_audio_output"]) == ("qwen2_5_omni", False)
    assert settings["thinker_config"]["model_type"] == "qwen2_5_omni_thinker"
    exported = all_tensors(tmp_path / "served")
    assert all(name.startswith("thinker.") for name in exported)
    assert (tmp_path / "served/processor_config.json").is_file()
    convert.extract(tmp_path / "served", tmp_path / "back")
    assert same(all_tensors(thinker), all_tensors(tmp_path / "back"))


def test_thinker_saved_out_of_the_whole_model_fits_back_and_is_served(small_omni, tmp_path):
    model, processor = load_student(str(small_omni))
    model.to(torch.bfloat16).save_pretrained(tmp_path / "trained")
    processor.save_pretrained(tmp_path / "trained")
    assert all(name.startswith("thinker.") for name in all_tensors(tmp_path / "trained"))
    convert.merge(tmp_path / "trained", small_omni, tmp_path / "whole")
    assert same(all_tensors(small_omni), all_tensors(tmp_path / "whole"))
    convert.export_vllm(tmp_path / "trained", tmp_path / "served")
    inside = {name: t for name, t in all_tensors(small_omni).items() if name.startswith("thinker.")}
    assert same(inside, all_tensors(tmp_path / "served"))
    assert "vision projection" in describe.describe(tmp_path / "trained", StudentConfig())


def test_live_names_are_published_in_what_is_written(thinker, small_omni, tmp_path):
    model = load(str(thinker), device="cpu", dtype="bfloat16").model
    shutil.copytree(thinker, tmp_path / "live")
    state = {name: tensor for name, tensor in model.state_dict().items() if "lm_head" not in name}
    assert "model.language_model.norm.weight" in state
    save_file(state, tmp_path / "live/model.safetensors")
    convert.merge(tmp_path / "live", small_omni, tmp_path / "whole")
    assert same(all_tensors(small_omni), all_tensors(tmp_path / "whole"))


def test_another_kind_of_checkpoint_is_refused_with_the_way_to_go_on(thinker, small_omni, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=r"a thinker, but the whole Qwen.* is needed"):
        convert.extract(thinker, out)
    with pytest.raises(ConfigError, match=r"a thinker, but the whole Qwen.* is needed"):
        convert.merge(thinker, thinker, out)
    with pytest.raises(ConfigError, match=r"a whole Qwen.*`avrt checkpoint extract"):
        convert.merge(small_omni, small_omni, out)
    with pytest.raises(ConfigError, match=r"a whole Qwen.*`avrt checkpoint extract"):
        convert.export_vllm(small_omni, out)
    assert not out.exists()


def test_what_is_no_checkpoint_is_refused(thinker, tmp_path):
    with pytest.raises(ConfigError, match=r"no checkpoint here, config\.json is missing"):
        convert.extract(tmp_path / "nowhere", tmp_path / "out")
    settings = json.loads((thinker / "config.json").read_text())
    (thinker / "config.json").write_text(json.dumps({**settings, "model_type": "qwen2"}))
    with pytest.raises(ConfigError, match=r"is 'qwen2', but a Qwen2.5-Omni or Qwen3-Omni thinker"):
        convert.export_vllm(thinker, tmp_path / "out")
    (thinker / "config.json").write_text("[]")
    with pytest.raises(DataError, match="not the configuration of a model"):
        convert.export_vllm(thinker, tmp_path / "out")


def rewrite(folder: Path, change) -> None:
    """Change the tensors of a checkpoint in one file."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.norm.weight"), r"missing: model\.norm\.weight$"),
        (
            lambda state: state.update({"model.norm.weight": torch.zeros(3)}),
            r"of another shape: model\.norm\.weight is \[3\], expected \[160\]",
        ),
        (
            lambda state: state.update({"model.extra.weight": torch.zeros(3)}),
            r"not in the whole model: model\.extra\.weight",
        ),
        (
            lambda state: state.update({"lm_head.weight": torch.zeros(526, 160)}),
            r"has its own head",
        ),
    ],
)
def test_thinker_that_does_not_fit_is_refused_by_tensor(
    thinker, small_omni, tmp_path, change, message
):
    rewrite(thinker, change)
    with pytest.raises(DataError, match=message):
        convert.merge(thinker, small_omni, tmp_path / "out")


def test_incomplete_whole_model_is_refused(small_omni, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(small_omni, broken)
    index = json.loads((broken / tensors.INDEX).read_text())
    last = sorted({*index["weight_map"].values()})[-1]
    whole = (broken / last).read_bytes()
    (broken / last).write_bytes(whole[:-10])
    with pytest.raises(DataError, match=r"not a complete safetensors file.*cut off.*download"):
        convert.extract(broken, tmp_path / "out")
    (broken / last).unlink()
    with pytest.raises(DataError, match=rf"{last}: not found, but .*index\.json names it"):
        convert.extract(broken, tmp_path / "out")
    (broken / tensors.INDEX).unlink()
    with pytest.raises(DataError, match="no weights here"):
        convert.extract(broken, tmp_path / "out")
    shutil.copytree(small_omni, broken, dirs_exist_ok=True)
    del index["weight_map"]["thinker.visual.merger.ln_q.weight"]
    (broken / tensors.INDEX).write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"do not fit config\.json: missing: visual\.merger\.ln_q"):
        convert.extract(broken, tmp_path / "out")


def test_folder_that_is_there_is_not_written_over(small_omni, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="already exists"):
        convert.extract(small_omni, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_full_disk_leaves_nothing(small_omni, tmp_path, monkeypatch):
    copy = tensors.StoredTensor.write_to

    def fill(tensor, target):
        if target.tell() > 1_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copy(tensor, target)

    monkeypatch.setattr(tensors.StoredTensor, "write_to", fill)
    with pytest.raises(OSError, match="No space left"):
        convert.extract(small_omni, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_killed_conversion_leaves_no_checkpoint_and_can_be_repeated(
    small_omni, tmp_path, monkeypatch
):
    copy = tensors.StoredTensor.write_to

    def die(tensor, target):
        copy(tensor, target)
        if target.tell() > 1_000_000:
            os.kill(os.getpid(), signal.SIGKILL)

    out = tmp_path / "out"
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(tensors.StoredTensor, "write_to", die)
        convert.extract(small_omni, out)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {".out.new", ".out.lock"}
    convert.extract(small_omni, out)
    assert list(tmp_path.iterdir()) == [out]


def test_several_shards_are_written_and_read(thinker, small_omni, tmp_path):
    found = tensors.read_tensors(small_omni)
    (tmp_path / "parts").mkdir()
    tensors.write_tensors(tmp_path / "parts", found, shard_bytes=500_000)
    files = sorted((tmp_path / "parts").glob("*.safetensors"))
    assert len(files) > 3
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    assert same(all_tensors(small_omni), all_tensors(tmp_path / "parts"))
    assert tensors.read_tensors(tmp_path / "parts").keys() == found.keys()


def test_description_counts_every_parameter_and_says_what_trains(thinker, small_omni):
    text = describe.describe(thinker, StudentConfig())
    rows = {line.split("  ")[0].strip(): line.split() for line in text.splitlines()}
    model, _ = load_student(str(thinker))
    assert rows["total"][1] == f"{sum(p.numel() for p in model.parameters()):,}"
    assert rows["vision projection"][2] == "106,976"
    assert (rows["language model"][-1], rows["vision projection"][-1]) == ("yes", "no")
    assert rows["embeddings"][-2] == "BF16"
    assert "head: uses the embeddings" in text
    assert "training: 1,295,840 parameters train, 425,792 are frozen" in text

    text = describe.describe(thinker, StudentConfig(train_projections=True))
    assert "training: 1,413,216 parameters train, 308,416 are frozen" in text
    whole = describe.describe(small_omni, StudentConfig())
    assert "talker" in whole
    assert "vocoder" in whole
    assert "SFT and GRPO train the thinker inside" in whole


def test_official_architecture_name_is_what_the_tests_use(small_omni):
    assert json.loads((small_omni / "config.json").read_text())["architectures"] == [MODEL]


def test_commands_print_what_they_did_and_refuse_with_exit_code_2(small_omni, tmp_path):
    def avrt(*command: object) -> Result:
        return CliRunner().invoke(cli, ["checkpoint", *map(str, command)])

    thinker, whole = tmp_path / "thinker", tmp_path / "whole"
    assert "127 tensors" in avrt("extract", small_omni, thinker).output
    assert "127 tensors from" in avrt("merge", thinker, small_omni, whole).output
    assert "vllm serve" in avrt("export-vllm", thinker, tmp_path / "served").output
    described = avrt("describe", thinker, "student.lora.rank=4", "student.lora.targets=[q_proj]")
    assert "training: 5,120 parameters train" in described.output
    refused = avrt("extract", small_omni, thinker)
    assert (refused.exit_code, "already exists" in refused.output) == (2, True)
