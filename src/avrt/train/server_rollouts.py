"""Rollouts by a vLLM server: it gets the trainer's own inputs, and its weights after each update.

A request holds the token ids of a prompt and the tensors that the trainer's forward pass takes:
no chat template, picture decoder or processor lies between the two, so that tokens, pixels, sound
and times cannot differ. It asks for a group's G completions, media tokens forbidden, and the
log-probabilities with which they were drawn; TRL corrects the loss by them.

Weights go through a folder that both see, under the names of `avrt checkpoint export-vllm`: those
of all parameters that train. Caches of the server do not outlive an update, because items of media
and prompts are named anew for each.

The decision to question: vLLM's `/inference/v1/generate` is its interface between its own parts.
Its form of tensors (`engines/vllm_inputs.py`) may change with a version of vLLM.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from avrt.config import GrpoConfig, RolloutsConfig, StudentConfig
from avrt.engines.encode import suppress_token_ids
from avrt.engines.loops import run_async
from avrt.engines.names import PREFIX, published_name
from avrt.engines.vllm_inputs import items_of, packed, runs_of
from avrt.errors import ConfigError, EngineError
from avrt.ranks import is_main
from avrt.train.shared_prefix import Media, group_inputs, n_prompt_of, share_attention

__all__ = ["DIFFERENCE", "ServerRollouts", "require_plain", "require_server"]

DIFFERENCE = "sampling/sampling_logp_difference/mean"
"""TRL's name for the mean difference of a rollout's log-probabilities."""
START = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER --served-model-name {model} --dtype {dtype} "
    "--enable-scale-out --logprobs-mode processed_logprobs"
)
"""The command that starts a server; `FOLDER` is written by `avrt checkpoint export-vllm`."""
GENERATE, RPC = "/inference/v1/generate", "/collective_rpc"
ATTEMPTS, PAUSE_S = 3, 5.0
CHECK_S = 10.0
"""Longest wait for an answer before the training begins."""
SHARD_BYTES = 1 << 30
"""Weights that are copied to the host at a time."""

Body = Callable[[], dict[str, Any]]
"""Makes a request's body; those of pictures are large, and made while others are on their way."""


def require_server(rollouts: RolloutsConfig, student: StudentConfig) -> None:
    """Refuse a student whose completions a server cannot sample, and a server that cannot do it.

    Raises:
        ConfigError: the settings do not go together.
        EngineError: no server answers, or it serves another model, or was started without a flag.
    """
    require_plain(student)
    try:
        with _folder_of(rollouts):
            pass
    except OSError as error:
        raise ConfigError(
            f"grpo.rollouts.weights = {rollouts.weights}: cannot write here: "
            f"{error.strerror or error}; name a folder that trainer and server both see"
        ) from error
    run_async(_require(rollouts, student.dtype))


def require_plain(student: StudentConfig) -> None:
    """Refuse a student whose completions no server can sample.

    Raises:
        ConfigError: its settings do not go together with rollouts by a server.
    """
    for is_set, setting in (
        (student.lora is not None, "student.lora"),
        (student.use_audio_in_video, "student.use_audio_in_video"),
    ):
        if is_set:
            raise ConfigError(
                f"grpo.rollouts does not work with {setting}; take one of the two settings back"
            )


async def _require(rollouts: RolloutsConfig, dtype: str) -> None:
    start = f"start it with: {START.format(model=rollouts.model, dtype=dtype)}"
    async with _client(CHECK_S) as client:
        url = f"{rollouts.root}/v1/models"
        status, body = await _request(client, "GET", url, None, start)
        served = _served(body)
        if status != 200 or served is None:
            raise EngineError(f"{url}: no list of models, but {_words(status, body)}; {start}")
        if rollouts.model not in served:
            raise EngineError(
                f"{rollouts.base_url}: serves {', '.join(map(str, served)) or 'no model'}, not "
                f"grpo.rollouts.model = {rollouts.model!r}; {start}"
            )
        # Requests without what they need: a server that knows them says so and does nothing.
        for path, flag in ((GENERATE, "--enable-scale-out"), (RPC, "VLLM_SERVER_DEV_MODE=1")):
            status, _ = await _request(client, "POST", f"{rollouts.root}{path}", b"{}", start)
            if status in (403, 404, 405):
                raise EngineError(
                    f"{rollouts.root}{path}: HTTP {status}; the server was started without {flag}, "
                    f"or is no vLLM that has it; {start}"
                )


def _served(body: Mapping[str, Any]) -> list[str] | None:
    """The names of a list of models; None: it is none."""
    try:
        return [model["id"] for model in body["data"]]
    except (KeyError, TypeError):
        return None


def _folder_of(rollouts: RolloutsConfig) -> tempfile.TemporaryDirectory[str]:
    """A new folder for weights, which is removed at the end."""
    return tempfile.TemporaryDirectory(prefix="avrt-weights-", dir=rollouts.weights.resolve())


class ServerRollouts:
    """The completions of a training's prompts, sampled by the server of `grpo.rollouts`."""

    def __init__(
        self, grpo: GrpoConfig, student: StudentConfig, model: Any, processor: Any
    ) -> None:
        """`model` is the thinker that trains.

        Raises:
            ConfigError: it is no Qwen2.5-Omni, its head and embeddings are one tensor, or the
                folder has no room for its weights.
        """
        assert grpo.rollouts is not None
        if model.config.model_type != "qwen2_5_omni_thinker":
            raise ConfigError(
                f"grpo.rollouts was tried with Qwen2.5-Omni alone, not {model.config.model_type}; "
                "set grpo.rollouts=null"
            )
        if model.lm_head.weight is model.get_input_embeddings().weight:
            raise ConfigError(
                "grpo.rollouts needs a student whose head is a tensor of its own, as those of "
                "Qwen2.5-Omni 3B and 7B are: vLLM does not renew a head that is tied to the "
                "embeddings; set grpo.rollouts=null"
            )
        self._settings, self._group_size = grpo.rollouts, grpo.group_size
        self._temperature, self._n_new = grpo.temperature, grpo.max_new_tokens
        self._dtype_name, self._dtype = student.dtype, getattr(torch, student.dtype)
        self._suppress_ids = suppress_token_ids(processor)
        self._placeholders = {
            kind: processor.tokenizer.convert_tokens_to_ids(getattr(processor, f"{kind}_token"))
            for kind in ("image", "video", "audio")
        }
        self._forbidden = {*self._suppress_ids}
        self._n_words = model.get_input_embeddings().num_embeddings
        self._require_folder_room(model)
        self._training = uuid.uuid4().hex
        self._version: int | None = None
        self._n_prompts = 0

    def _require_folder_room(self, model: Any) -> None:
        n_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        needed, folder = n_trained * self._dtype.itemsize, self._settings.weights
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise ConfigError(
                f"grpo.rollouts.weights = {folder}: the trained weights take {needed / 2**30:.2f} "
                f"GiB, but {free / 2**30:.2f} GiB are free here; make room (avrt-weights-* are of "
                "trainings that were killed), or name another folder that trainer and server see"
            )

    def hand_over(self, model: Any, version: int, wait: Callable[[], None] = lambda: None) -> None:
        """Give the server the weights of `model`, unless it has those of this `version`.

        All processes call this; the main one hands over, and `wait` waits for it.

        Raises:
            EngineError: the server does not take them.
        """
        if version == self._version:
            return
        if is_main():
            self._write_and_load(model)
        wait()
        self._version, self._n_prompts = version, 0

    def _write_and_load(self, model: Any) -> None:
        root = self._settings.weights.resolve()
        remedy = (
            f"start the server where {root} is the folder of that name here, or set "
            "grpo.rollouts.weights to a folder that both see"
        )
        try:
            with _folder_of(self._settings) as folder:
                for number, shard in enumerate(_shards(model, self._dtype)):
                    path = Path(folder) / f"model-{number:05}.safetensors"
                    save_file(shard, path, {"format": "pt"})
                call = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
                run_async(self._post(RPC, [lambda: call], remedy, n_attempts=1))
        except (OSError, SafetensorError) as error:
            raise EngineError(
                f"{root}: cannot write the weights here: {error}; set grpo.rollouts.weights to a "
                "folder with room for them that the server sees too"
            ) from error

    def sample(
        self, prompts: Sequence[Sequence[int]], media: Sequence[Media], end_ids: Sequence[int]
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Sample G completions of each of N prompts, in the prompts' order.

        A completion ends with the first of `end_ids`, and includes it. Returns the token ids, and
        the log-probability with which each was drawn.

        Raises:
            EngineError: the server fails, or gives something else.
        """
        bodies = [
            partial(self._body, self._n_prompts + number, prompt, of_prompt, end_ids)
            for number, (prompt, of_prompt) in enumerate(zip(prompts, media, strict=True))
        ]
        self._n_prompts += len(prompts)
        replies = run_async(self._post(GENERATE, bodies, "look into the server's own log"))
        choices = [choice for reply in replies for choice in self._choices(reply)]
        drawn = [[each["logprob"] for each in choice["logprobs"]["content"]] for choice in choices]
        return [choice["token_ids"] for choice in choices], drawn

    @torch.no_grad()
    def difference(
        self,
        model: Any,
        prompts: Sequence[Tensor],
        media: Sequence[Media],
        completions: Sequence[Sequence[int]],
        drawn: Sequence[Sequence[float]],
    ) -> Tensor:
        """Absolute differences (tokens,) of what `sample` gave from the log-probabilities of
        `model`, computed as in training. The prompts are (T,), on the model's device.
        """
        share_attention(model)
        found: list[Tensor] = []
        for i, (prompt, of_prompt) in enumerate(zip(prompts, media, strict=True)):
            group = slice(i * self._group_size, (i + 1) * self._group_size)
            answers = [torch.tensor(row, device=prompt.device) for row in completions[group]]
            inputs = group_inputs(model, [prompt], [answers], [of_prompt])
            labels, n_prompt = inputs.pop("shift_labels")[0], n_prompt_of(inputs)
            hidden = model.base_model(**inputs).last_hidden_state[0, n_prompt:]
            logprobs = (model.lm_head(hidden).float() / self._temperature).log_softmax(-1)
            labels = labels[n_prompt:, None]
            own = logprobs.gather(-1, labels.clamp(min=0))[labels >= 0]
            theirs = torch.tensor([value for row in drawn[group] for value in row])
            found.append((own.cpu() - theirs).abs())
        return torch.cat(found)

    def require_close(self, difference: float) -> None:
        """Refuse a mean difference of log-probabilities that rounding cannot explain.

        Raises:
            EngineError: it is above `grpo.rollouts.max_difference`.
        """
        if not difference <= self._settings.max_difference:
            start = START.format(model=self._settings.model, dtype=self._dtype_name)
            raise EngineError(
                f"{self._settings.base_url}: log-probabilities of the rollout differ from the "
                f"trainer's by {difference:.3g} on average, above grpo.rollouts.max_difference = "
                f"{self._settings.max_difference:g}: the server has other weights, or rounds them "
                "otherwise, or was started without --logprobs-mode processed_logprobs; start it "
                f"with: {start}"
            )

    def _body(
        self, number: int, prompt: Sequence[int], media: Media, end_ids: Sequence[int]
    ) -> dict[str, Any]:
        name = f"{self._training}-{self._version}"
        items = {kind: list(map(packed, each)) for kind, each in items_of(media, self._dtype)}
        features = {
            "mm_hashes": {
                kind: [f"{name}-{number}-{kind}-{i}" for i in range(len(each))]
                for kind, each in items.items()
            },
            "mm_placeholders": {
                kind: list(runs_of(prompt, self._placeholders[kind])) for kind in items
            },
            "kwargs_data": {
                kind: [base64.b64encode(item).decode() for item in each]
                for kind, each in items.items()
            },
        }
        sampling = {
            "n": self._group_size,
            "temperature": self._temperature,
            "max_tokens": self._n_new,
            "stop_token_ids": list(end_ids),
            "ignore_eos": True,  # nothing but `stop_token_ids` ends a completion
            "logit_bias": dict.fromkeys(map(str, self._suppress_ids), -100.0),
            "logprobs": 0,  # of the drawn token alone
            "detokenize": False,
        }
        return {
            "model": self._settings.model,
            "token_ids": list(prompt),
            "features": features,
            "cache_salt": name,
            "sampling_params": sampling,
        }

    def _choices(self, reply: dict[str, Any]) -> list[dict[str, Any]]:
        """The choices of a reply, in order, if they are what was asked for."""
        url, remedy = f"{self._settings.root}{GENERATE}", "use another version of vLLM"
        try:
            choices = sorted(reply["choices"], key=lambda choice: choice["index"])
            rows = [
                (choice["token_ids"], [each["logprob"] for each in choice["logprobs"]["content"]])
                for choice in choices
            ]
            lengths = [(len(ids), len(drawn)) for ids, drawn in rows]
        except (KeyError, TypeError) as error:
            raise EngineError(
                f"{url}: a reply without token ids and their log-probabilities "
                f"({type(error).__name__}: {error}): {_words(200, reply)}; {remedy}"
            ) from error
        group = range(self._group_size)
        if [choice["index"] for choice in choices] != [*group] or any(
            n != m or not 0 < n <= self._n_new for n, m in lengths
        ):
            raise EngineError(
                f"{url}: asked for {len(group)} completions of at most {self._n_new} tokens, got "
                f"{len(choices)} with (tokens, log-probabilities) {lengths}; {remedy}"
            )
        for ids, drawn in rows:
            self._require_tokens(url, ids)
            # TRL would take a token whose number is no number for one that needs no correction.
            if bad := [value for value in drawn if not _is_logprob(value)]:
                raise EngineError(
                    f"{url}: a token was drawn with log-probability {bad[0]!r}, which is no finite "
                    "number; look into the server's own log"
                )
        return choices

    def _require_tokens(self, url: str, ids: Sequence[Any]) -> None:
        """Refuse tokens that the model does not have, or that stand for media."""
        words = range(self._n_words)
        if bad := [token for token in ids if type(token) is not int or token not in words]:
            raise EngineError(
                f"{url}: a completion has token {bad[0]!r}, and the student's tokens are 0 to "
                f"{len(words) - 1}; serve what `avrt checkpoint export-vllm` wrote of the student"
            )
        if bad := [token for token in ids if token in self._forbidden]:
            raise EngineError(
                f"{url}: a completion has token {bad[0]}, which stands for media and was forbidden "
                "by logit_bias; use another version of vLLM"
            )

    async def _post(
        self, path: str, bodies: Sequence[Body], remedy: str, n_attempts: int = ATTEMPTS
    ) -> list[dict[str, Any]]:
        """Give the replies to requests that are under way together."""
        async with _client(self._settings.timeout_s) as client:
            url = f"{self._settings.root}{path}"
            tasks = (_answer(client, url, body, remedy, n_attempts) for body in bodies)
            return await asyncio.gather(*tasks)


def _shards(model: Any, dtype: torch.dtype) -> Iterator[dict[str, Tensor]]:
    """The weights that train, under vLLM's names, a part at a time."""
    shard: dict[str, Tensor] = {}
    n_bytes = 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        tensor = parameter.detach().to("cpu", dtype).contiguous()
        shard[PREFIX + published_name(name)] = tensor
        n_bytes += tensor.nbytes
        if n_bytes >= SHARD_BYTES:
            yield shard
            shard, n_bytes = {}, 0
    if shard:
        yield shard


def _is_logprob(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _client(timeout_s: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Content-Type": "application/json"},
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=10.0),
    )


async def _answer(
    client: aiohttp.ClientSession, url: str, make: Body, remedy: str, n_attempts: int
) -> dict[str, Any]:
    """Post until the server answers, fails for good, or has failed `n_attempts` times."""
    body = await asyncio.to_thread(lambda: json.dumps(make()).encode())
    for attempt in range(1, n_attempts + 1):
        try:
            status, reply = await _request(client, "POST", url, body, remedy)
        except EngineError:
            if attempt == n_attempts:
                raise
        else:
            if status == 200:
                return reply
            if status < 500 or attempt == n_attempts:
                raise EngineError(f"{url}: {_words(status, reply)}; {remedy}")
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("unreachable")


def _words(status: int, reply: Mapping[str, Any]) -> str:
    return f"HTTP {status}: {json.dumps(reply)[:500]}"


async def _request(
    client: aiohttp.ClientSession, method: str, url: str, body: bytes | None, remedy: str
) -> tuple[int, dict[str, Any]]:
    """The status and the object of a reply; empty when it holds none.

    Raises:
        EngineError: no server answers.
    """
    try:
        data = None if body is None else io.BytesIO(body)  # aiohttp warns of large plain bytes
        async with client.request(method, url, data=data) as reply:
            text = (await reply.read()).decode(errors="replace")
            try:
                found = json.loads(text)
            except ValueError:
                found = {"text": text}
            return reply.status, found if isinstance(found, dict) else {"found": found}
    except (aiohttp.ClientError, TimeoutError) as error:
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
            total = client.timeout.total
            slow = "" if total == CHECK_S else " if it hangs, else raise grpo.rollouts.timeout_s"
            raise EngineError(f"{url}: no answer within {total:g} s; {remedy}{slow}") from error
        raise EngineError(
            f"{url}: no server answers ({type(error).__name__}: {error}); {remedy}, or set "
            "grpo.rollouts=null"
        ) from error
