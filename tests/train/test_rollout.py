from __future__ import annotations

import pytest
import torch

from avrt.engines.encode import merge_media, suppress_token_ids
from avrt.train import rollout
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.rollout import Sampler, _Cache, draws_of, sample_groups

N_NEW = 12


@pytest.fixture
def prompts(make_config, make_row, student):
    """Two prompts of different lengths."""
    rows = [
        make_row("long", "red-high", question="What is it, and where does it stand?"),
        make_row("short", "short"),
    ]
    config = make_config(rows)
    encoder = PromptEncoder(student[1], config.data.root, config.media, config.student.prompt)
    return [
        encoder(example.sample) for example in read_examples(split_path(config.run.path, "train"))
    ]


@pytest.fixture
def sample(student, prompts):
    """Rollouts of both prompts."""
    model = student[0].eval()

    def run(group_size, **changes):
        settings = {"max_new_tokens": N_NEW, "temperature": 1.0, "end_ids": (), **changes}
        ids, media = [row.input_ids for row in prompts], [row.media for row in prompts]
        return sample_groups(model, ids, media, group_size, Sampler(**settings))

    return run


def test_greedy_rollouts_equal_generation_of_each_prompt_alone(student, prompts, sample):
    model, processor = student
    suppressed = tuple(suppress_token_ids(processor))
    rollouts = sample(2, temperature=0.0, suppress_ids=suppressed)
    assert rollouts[0] == rollouts[1]
    assert rollouts[2] == rollouts[3]
    for row, written in zip(prompts, rollouts[::2], strict=True):
        ids = row.input_ids[None]
        whole = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **merge_media([row.media]),
            max_new_tokens=N_NEW,
            do_sample=False,
            suppress_tokens=list(suppressed),
            eos_token_id=None,
        )
        assert written == whole[0, ids.shape[1] :].tolist()


def test_completions_of_a_group_are_different_draws_and_repeat_with_the_seed(sample):
    torch.manual_seed(3)
    first = sample(4)
    torch.manual_seed(3)
    assert sample(4) == first
    assert len({tuple(rollout) for rollout in first}) == len(first) == 8
    assert all(len(rollout) == N_NEW for rollout in first)


def test_tokens_are_drawn_with_the_models_probabilities(student, prompts, sample):
    model = student[0]
    row = prompts[0]
    ids = row.input_ids[None]
    with torch.no_grad():
        logits = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), **merge_media([row.media])
        ).logits[0, -1]
    sharp = 8.0  # few tokens hold most of the mass, so that 2,000 draws can be compared
    probabilities = torch.softmax(logits * sharp, -1)
    torch.manual_seed(0)
    draws = torch.tensor([one for (one,) in sample(2000, temperature=1 / sharp, max_new_tokens=1)])
    found = torch.bincount(draws[:2000], minlength=len(logits)) / 2000
    deviation = (found - probabilities).abs() / (probabilities * (1 - probabilities) / 2000).sqrt()
    assert deviation[probabilities > 0.01].max() < 4.5


def test_a_completion_follows_from_its_own_draws_whatever_else_is_in_the_batch(student, prompts):
    model, sampler = student[0].eval(), Sampler(N_NEW, 1.0, ())
    ids, media = [row.input_ids for row in prompts], [row.media for row in prompts]
    draws = draws_of([f"0:7:{name}:{k}" for name in ("first", "second") for k in range(3)], N_NEW)
    assert torch.equal(draws[4:5], draws_of(["0:7:second:1"], N_NEW))
    together = sample_groups(model, ids, media, 3, sampler, draws=draws)
    assert len({tuple(rollout) for rollout in together}) == 6
    alone = sample_groups(model, ids[1:], media[1:], 3, sampler, draws=draws[3:])
    assert alone == together[3:]


def test_no_draw_chooses_a_token_without_probability():
    logits = torch.full((4, 100_000), -18.0)  # each below what float32 can add to a sum near 1
    logits[:, 50_000] = 0.0
    sampler = Sampler(1, 1.0, (), suppress_ids=(0, 1, 99_998, 99_999))
    drawn = torch.tensor([0.0, 0.5, 1 - 1e-6, 1 - 2**-53], dtype=torch.float64)
    tokens = sampler.choose(logits, drawn).tolist()
    assert tokens[:2] == [2, 50_000]
    assert 50_000 < tokens[2] < tokens[3] == 99_997


def test_a_completion_ends_with_the_first_end_token_and_holds_no_suppressed_one(sample):
    torch.manual_seed(0)
    plain = sample(8)
    common = plain[0][3]
    torch.manual_seed(0)
    ended = sample(8, end_ids=(common,))
    assert ended[0] == plain[0][: plain[0].index(common) + 1]
    assert all(common not in rollout[:-1] for rollout in ended)
    torch.manual_seed(0)
    assert all(common not in rollout for rollout in sample(8, suppress_ids=(common,)))


class Branching(Sampler):
    """The completions of a group begin with different tokens, and go on with the likeliest."""

    def choose(self, logits: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        logits[:, list(self.suppress_ids)] = -torch.inf
        if self.begun:
            return logits.argmax(-1)
        self.begun.append(True)
        ranks = torch.arange(len(logits)) % GROUP
        return logits.topk(GROUP).indices[torch.arange(len(logits)), ranks]


GROUP = 5


@pytest.mark.parametrize("fixed", [False, True])
def test_completions_that_ended_leave_the_batch_and_the_others_go_on_as_before(
    student, prompts, monkeypatch, fixed
):
    model, suppressed = student[0].eval(), tuple(suppress_token_ids(student[1]))
    n_rows: list[int] = []
    keep = _Cache.keep

    def remembering(cache, groups, members):
        n_rows.append(members.numel())
        keep(cache, groups, members)

    monkeypatch.setattr(_Cache, "keep", remembering)
    monkeypatch.setattr("avrt.train.rollout.CHECK_EVERY", 1)
    monkeypatch.setattr(Branching, "begun", [], raising=False)
    ids, media = [row.input_ids for row in prompts], [row.media for row in prompts]

    def roll_out(end_ids):
        Branching.begun.clear()
        sampler = Branching(24, 0.0, end_ids, suppressed)
        return sample_groups(model, ids, media, GROUP, sampler, fixed)

    whole = roll_out(())
    for group, row in enumerate(prompts):
        for written in whole[group * GROUP : (group + 1) * GROUP]:
            start = torch.cat([row.input_ids, torch.tensor(written[:1])])[None]
            alone = model.generate(
                input_ids=start,
                attention_mask=torch.ones_like(start),
                **merge_media([row.media]),
                max_new_tokens=23,
                do_sample=False,
                suppress_tokens=list(suppressed),
                eos_token_id=None,
            )
            assert written[1:] == alone[0, start.shape[1] :].tolist()
    ends = tuple(row[2 * number] for number, row in enumerate(whole[1:]))
    cut = [
        row[: 1 + next((i for i, token in enumerate(row) if token in ends), 99)] for row in whole
    ]
    assert len({len(row) for row in cut}) > 2
    assert roll_out(ends) == cut
    assert len(n_rows) > 1
    assert n_rows == sorted(n_rows, reverse=True)


def test_the_pass_that_a_graph_records_keeps_its_addresses_and_shapes(
    student, prompts, monkeypatch
):
    model, passes = student[0].eval(), []
    logits = rollout._logits

    def remembering(thinker, cache, tokens, positions, mask):
        stored = cache._layers[0]
        passes.append((mask.shape, mask.data_ptr(), *(states.data_ptr() for states in stored)))
        return logits(thinker, cache, tokens, positions, mask)

    monkeypatch.setattr(rollout, "_logits", remembering)
    ids, media = [row.input_ids for row in prompts], [row.media for row in prompts]
    torch.manual_seed(0)
    found = sample_groups(model, ids, media, 3, Sampler(N_NEW, 1.0, ()), fixed=True)
    assert len(passes) == N_NEW - 1
    assert len(set(passes)) == 1
    torch.manual_seed(0)
    assert sample_groups(model, ids, media, 3, Sampler(N_NEW, 1.0, ())) == found
    assert len(set(passes)) > 1
