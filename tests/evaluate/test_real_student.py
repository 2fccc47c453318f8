from __future__ import annotations

import pytest

from avrt.evaluate import Choice, run
from avrt.evaluate.logs import log_path, read_log

pytest.importorskip("transformers")


def test_a_thinker_checkpoint_is_evaluated_in_all_modalities(config, tmp_path):
    """Random weights: nothing to be right about, but every item goes through the real model."""
    from avrt.world.networks import new_student

    model, processor = new_student()
    model.save_pretrained(tmp_path / "student")
    processor.save_pretrained(tmp_path / "student")
    config = config.model_copy(
        update={
            "student": config.student.model_copy(update={"dtype": "float32", "device": "cpu"}),
            "eval": config.eval.model_copy(
                update={"models": {"base": str(tmp_path / "student")}, "max_new_tokens": 4}
            ),
        }
    )
    result = run(config, Choice(modalities=("none", "a", "v", "av")))
    assert sum(result.counts.values()) == 24
    assert result.counts["failed"] == 0
    assert result.counts["missing_media"] == 2
    lines = read_log(log_path(config.run.path, "clips", "base", "av"))
    assert all(x.n_completion_tokens <= 4 for x in lines)
    silent = next(x for x in lines if x.sample_id == "q5")
    assert silent.status == "missing_media"
    for modality, has_frames, has_sound in (
        ("none", False, False), ("a", False, True), ("v", True, False), ("av", True, True),
    ):  # fmt: skip
        lines = read_log(log_path(config.run.path, "clips", "base", modality))
        seen = next(x for x in lines if x.sample_id == "q0")
        assert ((seen.n_frame_tokens or 0) > 0, (seen.n_audio_tokens or 0) > 0) == (
            has_frames,
            has_sound,
        )
        assert (bool(seen.n_frames), bool(seen.audio_s)) == (has_frames, has_sound)
        n_media = (seen.n_frame_tokens or 0) + (seen.n_audio_tokens or 0)
        assert seen.n_prompt_tokens > n_media
