from __future__ import annotations

import pytest

from avrt.evaluate import run
from avrt.evaluate.logs import log_path, read_log

pytest.importorskip("transformers")


def test_a_thinker_checkpoint_is_evaluated_in_all_modalities(config, tmp_path):
    """Random weights: nothing to be right about, but every item goes through the real model."""
    from avrt.world.models import new_student

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
    result = run(config)
    assert sum(result.counts.values()) == 18
    assert result.counts["failed"] == 0
    assert result.counts["missing_media"] == 2
    lines = read_log(log_path(config.run.path, "clips", "base", "av"))
    assert all(x.n_completion_tokens <= 4 for x in lines)
    both, silent = lines[0], next(x for x in lines if x.sample_id == "q5")
    assert both.n_prompt_tokens > 0
    assert silent.status == "missing_media"
