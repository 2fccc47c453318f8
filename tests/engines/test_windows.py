from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from avrt.engines import windows
from avrt.engines.weights import load
from avrt.engines.windows import choose_attention, set_tower_attention
from avrt.errors import ConfigError
from avrt.world.networks import new_student


@pytest.fixture(scope="module")
def thinker():
    return new_student()[0].eval()


GRIDS = {"even": [[2, 8, 8]], "ragged": [[1, 6, 10], [3, 4, 14]], "one": [[1, 2, 2]]}


def outputs_of(thinker, grid, lengths):
    """What both towers make of random pictures and sounds."""
    torch.manual_seed(0)
    visual, base = thinker.base_model.visual, thinker.base_model
    patch = visual.config.patch_size**2 * visual.config.temporal_patch_size * 3
    pixels = torch.randn(int(torch.tensor(grid).prod(1).sum()), patch)
    sound = torch.randn(len(lengths), base.audio_tower.config.num_mel_bins, max(lengths))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        seen = base.get_video_features(pixels, torch.tensor(grid)).pooler_output
        heard = base.get_audio_features(sound, mask.long()).last_hidden_state
    return torch.cat(seen), heard


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("lengths", [[400], [100, 260]])
def test_windows_of_a_length_together_are_the_windows_one_by_one(
    thinker, monkeypatch, grid, lengths
):
    for tower in windows.TOWERS:
        getattr(thinker.base_model, tower).config._attn_implementation = "sdpa"
    expected = outputs_of(thinker, grid, lengths)
    set_tower_attention(thinker)
    calls = []
    monkeypatch.setattr(
        windows,
        "scaled_dot_product_attention",
        lambda *args, **options: (
            calls.append(args[0].shape) or scaled_dot_product_attention(*args, **options)
        ),
    )
    found = outputs_of(thinker, grid, lengths)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
    assert calls, "the towers did not use this attention"


def test_a_picture_takes_a_call_per_layer_and_length_of_window(thinker, monkeypatch):
    """1008 x 560 pixels in patches of 14: 45 windows of 64 patches in each of 4 pairs of frames."""
    calls = []
    monkeypatch.setattr(
        windows,
        "scaled_dot_product_attention",
        lambda query, *_, **__: calls.append(query.shape) or query,
    )
    bounds = torch.arange(0, 181) * 64
    states = torch.randn(1, 2, 11520, 4)
    found, _ = windows._attention(
        None, states, states, states, cu_seq_lens_q=bounds, scaling=1.0, attention_mask=None
    )
    assert calls == [torch.Size([180, 2, 64, 4])]
    torch.testing.assert_close(found, states.transpose(1, 2))


def test_gradients_pass_through(thinker):
    states = torch.randn(1, 2, 7, 4, requires_grad=True)
    bounds = torch.tensor([0, 3, 5, 7])
    found, _ = windows._attention(None, states, states, states, cu_seq_lens_q=bounds, scaling=0.5)
    whole = [
        scaled_dot_product_attention(*(states[:, :, a:b],) * 3, scale=0.5)
        for a, b in ((0, 3), (3, 5), (5, 7))
    ]
    expected = torch.cat(whole, 2).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((out * weights).sum(), states)[0] for out in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("device", "dtype", "installed", "reason"),
    [
        ("cpu", "bfloat16", True, "it needs a GPU"),
        ("cuda", "float32", True, "it does not compute in float32"),
        ("cuda:1", "bfloat16", False, "the package flash-attn is not installed"),
    ],
)
def test_flash_attention_is_refused_where_it_cannot_run(
    monkeypatch, device, dtype, installed, reason
):
    monkeypatch.setattr(windows, "find_spec", lambda _name: installed or None)
    with pytest.raises(ConfigError, match=rf"{reason}; set student\.tower_attention=auto"):
        choose_attention("flash_attention_2", device, dtype)
    assert choose_attention("auto", device, dtype) == "sdpa"


def test_auto_takes_flash_attention_where_it_can_run(monkeypatch):
    monkeypatch.setattr(windows, "find_spec", lambda _name: True)
    for attention in ("auto", "flash_attention_2"):
        assert choose_attention(attention, "cuda", "bfloat16") == "flash_attention_2"
    assert choose_attention("sdpa", "cuda", "bfloat16") == "sdpa"


def test_the_loaded_towers_have_the_batched_windows(tmp_path):
    model, processor = new_student()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    base = load(str(tmp_path), device="cpu").model.base_model
    for tower in windows.TOWERS:
        assert getattr(base, tower).config._attn_implementation == windows.BATCHED
    assert base.language_model.config._attn_implementation == "sdpa"
