"""A server on loopback that speaks vLLM's protocol for rollouts and answers with a real thinker.

It has its own copy of the model, gets weights from the folder it is told, and computes completions
and their log-probabilities from nothing but the request.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from avrt.train.checkpoint import load_student
from avrt.train.rollout import Sampler, sample_groups
from loopback import Loopback

LIVE_NAMES = {"thinker.model.": "model.language_model.", "thinker.lm_head.": "lm_head."}


class RolloutServer(Loopback):
    """Answers as `vllm serve FOLDER --served-model-name policy` does, with the flags it needs."""

    def __init__(self, folder: Path) -> None:
        self.model, _ = load_student(str(folder))
        self.requests: list[dict[str, Any]] = []
        self.reloads: list[set[str]] = []
        """The names of the tensors of each hand-over."""
        self.takes_weights = True
        self.statuses: list[int] = []
        """Of the next requests for completions; 200 when it is empty."""
        self.models: tuple[int, Any] = (200, {"data": [{"id": "policy"}]})
        """Status and body of the list of models."""
        self.delay_s = 0.0
        self.missing: set[str] = set()
        """Paths that it does not have."""
        self.spoil = lambda reply: reply
        """What becomes of a reply."""
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(*server.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path in server.missing:
                    self.reply(404, {"detail": "Not Found"})
                elif not body:
                    self.reply(400, {"detail": "missing"})
                else:
                    with lock:
                        self.reply(*server.answer(self.path, body))

            def reply(self, status: int, body: dict[str, Any] | bytes) -> None:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(BrokenPipeError, ConnectionResetError):  # it waits no longer
                    self.wfile.write(content)

            def log_message(self, *args) -> None:
                pass

        self.listen(Handler)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            self.reload(Path(body["kwargs"]["weights_path"]))
            return 200, {"results": [None]}
        self.requests.append(body)
        time.sleep(self.delay_s)
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            return status, {"error": {"message": "the engine is in trouble"}}
        return 200, self.spoil({"choices": self.choices(body)})

    def reload(self, folder: Path) -> None:
        tensors = {}
        for path in sorted(folder.glob("*.safetensors")):
            tensors |= load_file(path)
        self.reloads.append(set(tensors))
        if not self.takes_weights:
            return
        live = self.model.state_dict()
        for name, tensor in tensors.items():
            prefix = next(prefix for prefix in LIVE_NAMES if name.startswith(prefix))
            live[LIVE_NAMES[prefix] + name.removeprefix(prefix)].copy_(tensor)

    def choices(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        sampling, prompt = body["sampling_params"], torch.tensor(body["token_ids"])
        media, forbidden = media_of(body), [int(token) for token in sampling["logit_bias"]]
        assert set(sampling["logit_bias"].values()) == {-100.0}
        sampler = Sampler(
            sampling["max_tokens"],
            sampling["temperature"],
            tuple(sampling["stop_token_ids"]),
            tuple(forbidden),
        )
        rows = sample_groups(self.model, [prompt], [media], sampling["n"], sampler)
        return [self.choice(i, prompt, row, media, sampler) for i, row in enumerate(rows)][::-1]

    def choice(self, index, prompt, row, media, sampler) -> dict[str, Any]:
        ids = torch.cat([prompt, torch.tensor(row)])[None]
        with torch.no_grad():
            logits = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), **media).logits
        logits = logits[0, -len(row) - 1 : -1] / sampler.temperature
        logits[:, list(sampler.suppress_ids)] -= 100.0
        drawn = logits.log_softmax(-1).gather(-1, torch.tensor(row)[:, None])[:, 0].tolist()
        content = [{"token_id": t, "logprob": p} for t, p in zip(row, drawn, strict=True)]
        return {"index": index, "token_ids": row, "logprobs": {"content": content}}


def items_of(body: dict[str, Any]) -> dict[str, list[dict[str, torch.Tensor]]]:
    """The tensors of a request's media, by kind; checks where their places in the prompt are."""
    features, found = body["features"], {}
    for kind, encoded in features["kwargs_data"].items():
        packed = [unpack(base64.b64decode(item), 0)[0] for item in encoded]
        found[kind] = [{name: field["data"] for name, field in item.items()} for item in packed]
        assert len(features["mm_hashes"][kind]) == len(encoded)
        for place in features["mm_placeholders"][kind]:
            start, end = place["offset"], place["offset"] + place["length"]
            around = body["token_ids"][start - 1 : end + 1]
            assert len(set(around[1:-1])) == 1
            assert around[1] not in (around[0], around[-1])
    return found


def media_of(body: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The inputs of the model's forward pass."""
    items, media = items_of(body), {}
    for video in items.get("video", ()):
        media["pixel_values_videos"] = video["pixel_values_videos"]
        media["video_grid_thw"] = video["video_grid_thw"][None]
        media["video_second_per_grid"] = video["second_per_grid_ts"][None]
    for sound in items.get("audio", ()):
        media["input_features"] = sound["input_audio_features"][None]
        media["feature_attention_mask"] = sound["feature_attention_mask"][None]
        assert int(sound["audio_feature_lengths"]) == int(sound["feature_attention_mask"].sum())
    return media


def unpack(data: bytes, at: int) -> tuple[Any, int]:
    """One value of MessagePack, and where the next begins; a triple with bytes is a tensor."""
    kind = data[at]
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at + 1
    if kind == 0xD3:
        return int.from_bytes(data[at + 1 : at + 9], "big", signed=True), at + 9
    if kind == 0x93:
        size, at = 3, at + 1
    else:
        size, at = int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    if kind == 0xDB:
        return data[at : at + size].decode(), at + size
    if kind == 0xC9:
        assert data[at] == 3, "the extension for raw bytes"
        return data[at + 1 : at + 1 + size], at + 1 + size
    values = []
    for _ in range(2 * size if kind == 0xDF else size):
        value, at = unpack(data, at)
        values.append(value)
    if kind == 0xDF:
        return dict(zip(values[::2], values[1::2], strict=True)), at
    if len(values) == 3 and isinstance(values[2], bytes):
        dtype, shape, raw = values
        return torch.frombuffer(bytearray(raw), dtype=getattr(torch, dtype)).view(shape), at
    return values, at
