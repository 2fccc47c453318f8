from __future__ import annotations

import torch

from avrt.train import sft
from avrt.train.checkpoint import count_parameters
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.memory import estimate_memory


def n_bytes(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_the_estimate_is_what_a_step_holds(make_config, student):
    model, processor = student
    config = make_config()
    examples = read_examples(split_path(config.run.path, "train"))
    collator = sft.TraceCollator(
        examples,
        PromptEncoder(processor, config.data.root, config.media, config.student.prompt),
        processor,
    )
    batch = collator([{"sample_id": example.sample.id} for example in examples])
    labels = batch.pop("labels")
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own and tensor.is_floating_point():
            kept[place] = tensor.untyped_storage().nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.base_model(**batch).last_hidden_state
    hidden.sum().backward()
    model.lm_head(hidden[:, -1].detach()).sum().backward()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable)
    optimizer.step()
    moments = [s[key] for s in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]

    estimate = estimate_memory(
        model.config.get_text_config(),
        count_parameters(model),
        labels.numel(),
        checkpointing=False,
        half=False,
        reference=False,
    )
    assert estimate["weights"] == n_bytes(model.parameters())
    assert estimate["gradients"] == n_bytes(p.grad for p in trainable)
    assert estimate["optimizer"] == n_bytes(moments)
    assert 0.5 < estimate["activations"] / sum(kept.values()) < 2
