"""Rollouts by a vLLM server: it gets the trainer's own inputs, and its weights after each update.

A request holds the token ids of a prompt and the tensors that the trainer's forward pass takes:
no chat template, picture decoder or processor lies between the two, so that tokens, pixels, sound
and times cannot differ. It asks for a group's G completions, media tokens forbidden, and the
log-probabilities with which they were drawn; TRL corrects the loss by them.

Weights go through a folder that both see, under the names of `avrt checkpoint export-vllm`: those
of all parameters that train. Caches of the server do not outlive an update, because items of media
and prompts are named anew for each.

The decision to question: vLLM's `/inference/v1/generate` is its interface between its own parts.
Its form of tensors is written here (`_packed`), and may change with a version of vLLM.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
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
from avrt.engines.encode import INTERLEAVED, as_floats, suppress_token_ids
from avrt.engines.loops import run_async
from avrt.engines.names import PREFIX, published_name
from avrt.errors import ConfigError, EngineError
from avrt.ranks import is_main
from avrt.train.shared_prefix import Media, group_inputs, n_prompt_of, share_attention

__all__ = ["DIFFERENCE", "ServerRollouts", "require_server"]

DIFFERENCE = "sampling/sampling_logp_difference/mean"
"""TRL's name for the mean difference of a rollout's log-probabilities."""
START = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER --served-model-name {model} --dtype {dtype} "
    "--enable-scale-out --logprobs-mode processed_logprobs"
)
"""The command that starts a server; `FOLDER` is written by `avrt checkpoint export-vllm`."""
GENERATE, RPC = "/inference/v1/generate", "/collective_rpc"
ATTEMPTS, PAUSE_S = 3, 5.0
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
    for is_set, setting in (
        (student.lora is not None, "student.lora"),
        (student.use_audio_in_video, "student.use_audio_in_video"),
    ):
        if is_set:
            raise ConfigError(
                f"grpo.rollouts does not work with {setting}; take one of the two settings back"
            )
    if not rollouts.weights.is_dir():
        raise ConfigError(
            f"grpo.rollouts.weights = {rollouts.weights}: no such folder; name one that trainer "
            "and server both see"
        )
    run_async(_require(rollouts, student.dtype))


async def _require(rollouts: RolloutsConfig, dtype: str) -> None:
    start = f"start it with: {START.format(model=rollouts.model, dtype=dtype)}"
    async with _client(10.0) as client:
        status, body = await _request(client, "GET", f"{rollouts.root}/v1/models", None, start)
        served = [model.get("id") for model in body.get("data", [])] if status == 200 else []
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


class ServerRollouts:
    """The completions of a training's prompts, sampled by the server of `grpo.rollouts`."""

    def __init__(
        self, grpo: GrpoConfig, student: StudentConfig, model: Any, processor: Any
    ) -> None:
        """`model` is the thinker that trains.

        Raises:
            ConfigError: it is no Qwen2.5-Omni, or its head and embeddings are one tensor.
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
        self._training = uuid.uuid4().hex
        self._version: int | None = None
        self._n_prompts = 0

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
            with tempfile.TemporaryDirectory(prefix="avrt-weights-", dir=root) as folder:
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
        items = {kind: list(map(_packed, each)) for kind, each in _items(media, self._dtype)}
        features = {
            "mm_hashes": {
                kind: [f"{name}-{number}-{kind}-{i}" for i in range(len(each))]
                for kind, each in items.items()
            },
            "mm_placeholders": {
                kind: list(_runs(prompt, self._placeholders[kind])) for kind in items
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
        try:
            choices = sorted(reply["choices"], key=lambda choice: choice["index"])
            lengths = [
                (len(choice["token_ids"]), len(choice["logprobs"]["content"])) for choice in choices
            ]
        except (KeyError, TypeError) as error:
            raise EngineError(
                f"{self._settings.root}{GENERATE}: a reply without token ids and their "
                f"log-probabilities ({type(error).__name__}: {error}); use another version of vLLM"
            ) from error
        if len(choices) != self._group_size or any(n != m or n == 0 for n, m in lengths):
            raise EngineError(
                f"{self._settings.root}{GENERATE}: asked for {self._group_size} completions, got "
                f"{len(choices)} with (tokens, log-probabilities) {lengths}; use another version "
                "of vLLM"
            )
        return choices

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


def _items(media: Media, dtype: torch.dtype) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The media of a prompt as vLLM's items, by kind; floats as autocast rounds them."""
    if INTERLEAVED in media:
        raise EngineError("a server takes no video with its sound between the frames")
    floats = as_floats(media)
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if pixels not in floats:
            continue
        grids = floats[f"{kind}_grid_thw"]
        parts = floats[pixels].to(dtype).split(grids.prod(-1).tolist())
        items = [
            {pixels: _flat(part), f"{kind}_grid_thw": _single(grid)}
            for part, grid in zip(parts, grids, strict=True)
        ]
        if kind == "video":
            for item, seconds, grid in zip(
                items, floats["video_second_per_grid"], grids, strict=True
            ):
                item["second_per_grid_ts"] = _single(_same_times(seconds, int(grid[0])))
        yield kind, items
    if "input_features" in floats:
        sounds = zip(floats["input_features"], floats["feature_attention_mask"], strict=True)
        yield (
            "audio",
            [
                {
                    "input_audio_features": _flat(features[:, mask.bool()].to(dtype), 1),
                    "feature_attention_mask": _single(mask),
                    "audio_feature_lengths": _single(mask.sum()),
                }
                for features, mask in sounds
            ],
        )


def _same_times(seconds: Tensor, n_grids: int, per_second: int = 25) -> Tensor:
    """Seconds per grid for which vLLM's arithmetic puts frames where the trainer's does.

    A position is the whole part of number x seconds x 25, in single precision here and in double
    precision there, which differ where the product is a whole number but for rounding.
    """
    numbers = torch.arange(n_grids)
    wanted = (numbers * seconds.float() * per_second).long()[1:]
    scale = numbers[1:].double() * per_second
    if not len(scale):
        return seconds.double()
    low, high = (wanted / scale).max(), ((wanted + 1) / scale).min()
    # In few cases no number does; then one frame is off by a 25th of a second.
    return (low + high) / 2 if low < high else seconds.double()


def _flat(tensor: Tensor, dim: int = 0) -> dict[str, Any]:
    field = {"keep_on_cpu": False, "slices": [[0, tensor.shape[dim], None]], "dim": dim}
    return {"data": tensor, "field": ["flat", field]}


def _single(tensor: Tensor) -> dict[str, Any]:
    return {"data": tensor, "field": ["batched", {"keep_on_cpu": True}]}


def _runs(prompt: Sequence[int], placeholder: int) -> Iterator[dict[str, int]]:
    """Where the placeholder's runs begin in a prompt, and how long they are."""
    start = None
    for place, token in enumerate([*prompt, -1]):
        if token == placeholder and start is None:
            start = place
        elif token != placeholder and start is not None:
            yield {"offset": start, "length": place - start}
            start = None


def _packed(value: Any) -> bytes:
    """MessagePack, with tensors as vLLM's `MsgpackEncoder` writes them: type, shape and bytes."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return b"\xd3" + value.to_bytes(8, "big", signed=True)
    if isinstance(value, str):
        return b"\xdb" + _size(value.encode())
    if isinstance(value, Tensor):
        raw = value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        extension = b"\xc9" + len(raw).to_bytes(4, "big") + b"\x03" + raw
        kind = str(value.dtype).removeprefix("torch.")
        return b"\x93" + _packed(kind) + _packed(list(value.shape)) + extension
    if isinstance(value, Mapping):
        pairs = [_packed(key) + _packed(each) for key, each in value.items()]
        return b"\xdf" + len(pairs).to_bytes(4, "big") + b"".join(pairs)
    return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(_packed, value))


def _size(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw


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
                words = json.dumps(reply)[:500]
                raise EngineError(f"{url}: HTTP {status}: {words}; {remedy}")
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("unreachable")


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
            text = await reply.text()
            try:
                found = json.loads(text)
            except ValueError:
                found = {"text": text}
            return reply.status, found if isinstance(found, dict) else {"found": found}
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineError(
            f"{url}: no server answers ({type(error).__name__}: {error}); {remedy}, or set "
            "grpo.rollouts=null"
        ) from error
