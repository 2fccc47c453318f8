"""The model `avrt` of lmms-eval: a Qwen2.5-Omni thinker, run by AVRT's own engine.

Media go through AVRT's decoder, so that the student sees here what it saw in training.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from loguru import logger

from avrt.config import EngineConfig, MediaConfig
from avrt.engines import make_engine
from avrt.errors import MediaError
from avrt.types import Completion, Request, Sampling
from avrt_lmms_eval.messages import prompt_of

__all__ = ["AvrtStudent"]


class AvrtStudent(lmms):
    """A checkpoint of AVRT, a hub id, or `world:student`."""

    is_simple = False

    def __init__(
        self,
        pretrained: str = "Qwen/Qwen2.5-Omni-3B",
        batch_size: int | str = 1,
        device: str | None = None,
        dtype: str = "bfloat16",
        n_frames: int = 8,
        max_pixels: int = 602_112,
        max_audio_s: float | None = None,
        **unused: Any,
    ) -> None:
        super().__init__()
        if left := sorted(name for name in unused if name != "max_batch_size"):
            raise ValueError(f"model avrt has no argument {', '.join(left)}")
        self.media = MediaConfig(n_frames=n_frames, max_pixels=max_pixels, max_audio_s=max_audio_s)
        engine = {
            "kind": "transformers",
            "batch_size": int(batch_size),
            "device": device or "auto",
            "dtype": dtype,
        }
        self._engine = make_engine(
            EngineConfig.model_validate(engine), pretrained, None, self.media
        )

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """One reply per request, in order; a call that failed is an empty reply, and is logged."""
        replies = [""] * len(requests)
        asked: list[Request] = []
        with TemporaryDirectory() as folder:
            for number, request in enumerate(requests):
                _, doc_to_messages, arguments, doc_id, task, split = request.args
                messages = doc_to_messages(self.task_dict[task][split][doc_id])
                try:
                    prompt = prompt_of(messages, self.media, Path(folder))
                except MediaError as error:
                    logger.warning(f"{task} {doc_id}: {error}")
                    continue
                asked.append(Request(str(number), prompt, _sampling(arguments)))

            def finish(request: Request, completion: Completion) -> None:
                if completion.error:
                    logger.warning(f"request {request.key}: {completion.error}")
                replies[int(request.key)] = completion.text

            self._engine.generate(asked, finish)
        return replies

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("model avrt answers in words; choose tasks of generate_until")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError("model avrt answers once; choose tasks of one round")


def _sampling(arguments: dict[str, Any]) -> Sampling:
    """lmms-eval's generation arguments; without sampling, greedy."""
    greedy = not arguments.get("do_sample", False)
    return Sampling(
        temperature=0.0 if greedy else float(arguments.get("temperature") or 1.0),
        top_p=1.0 if greedy else float(arguments.get("top_p") or 1.0),
        max_new_tokens=int(arguments.get("max_new_tokens", 1024)),
    )
