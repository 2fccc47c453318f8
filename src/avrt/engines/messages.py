"""Turn a prompt into the messages of a chat completion, media included.

OpenAI-compatible servers and vLLM in process get the same form.

The decision to question: a clip sent as a single video part declares its frames as evenly spaced,
at their true mean rate from the first to the last, as for the student in process. Servers read
`fps` either as the rate of these frames or of the file they came from; so the two are equal.
"""

from __future__ import annotations

import base64
from typing import Any

from avrt.config import EngineConfig, MediaConfig
from avrt.config.secrets import mask
from avrt.engines.weights import model_identity
from avrt.media.payloads import encode_frames, encode_sound
from avrt.types import EncodedFrames, EncodedSound, Prompt, Request

__all__ = ["build_body", "build_messages", "wire_identity"]


def wire_identity(
    engine: EngineConfig, model: str, revision: str | None, media: MediaConfig
) -> dict[str, Any]:
    """Give a model's identity together with the form of its requests."""
    as_video = "-video" if engine.frames_as == "video" else ""
    as_url = "-url" if engine.audio_as == "audio_url" else ""
    return {
        **model_identity(model, revision),
        "frames": f"jpeg-{media.jpeg_quality}{as_video}",
        "audio": f"{media.audio_format}-pcm16{as_url}",
        **({"extra_body": mask(engine.fields)} if engine.fields else {}),
    }


def build_body(
    request: Request, model: str, engine: EngineConfig, media: MediaConfig, n: int = 1
) -> dict[str, Any]:
    """Build the JSON body of a chat completion request for `n` answers."""
    prompt, sampling = request.prompt, request.sampling
    settings = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
        "seed": sampling.seed,
    }
    body = {
        "model": model,
        "messages": build_messages(prompt, engine, media),
        **{
            engine.max_tokens_as if name == "max_tokens" else name: value
            for name, value in settings.items()
            if name not in engine.omit
        },
        **engine.fields,
    }
    if _is_video(prompt, engine):
        body["media_io_kwargs"] = {"video": _video_times(prompt)}
    if n > 1:
        body["n"] = n
    return body


def build_messages(
    prompt: Prompt, engine: EngineConfig, media: MediaConfig
) -> list[dict[str, Any]]:
    """Build the optional system message and the user's: media first, the text last."""
    messages: list[dict[str, Any]] = []
    if prompt.system is not None:
        messages.append({"role": "system", "content": prompt.system})
    parts = [*_frame_parts(prompt, engine, media), *_sound_parts(prompt, engine, media)]
    content = [*parts, {"type": "text", "text": prompt.text}] if parts else prompt.text
    messages.append({"role": "user", "content": content})
    return messages


def _frame_parts(prompt: Prompt, engine: EngineConfig, media: MediaConfig) -> list[dict[str, Any]]:
    frames = prompt.frames
    if frames is None:
        return []
    encoded = frames if isinstance(frames, EncodedFrames) else encode_frames(frames, media)
    jpegs = [_base64(jpeg) for jpeg in encoded.jpegs]
    if _is_video(prompt, engine):
        url = "data:video/jpeg;base64," + ",".join(jpegs)
        return [{"type": "video_url", "video_url": {"url": url}}]
    urls = ("data:image/jpeg;base64," + jpeg for jpeg in jpegs)
    return [{"type": "image_url", "image_url": {"url": url}} for url in urls]


def _sound_parts(prompt: Prompt, engine: EngineConfig, media: MediaConfig) -> list[dict[str, Any]]:
    audio = prompt.audio
    if audio is None:
        return []
    sound = audio if isinstance(audio, EncodedSound) else encode_sound(audio, media)
    data = _base64(sound.data)
    if engine.audio_as == "audio_url":
        url = f"data:audio/{sound.format};base64,{data}"
        return [{"type": "audio_url", "audio_url": {"url": url}}]
    return [{"type": "input_audio", "input_audio": {"data": data, "format": sound.format}}]


def _is_video(prompt: Prompt, engine: EngineConfig) -> bool:
    """True for several frames in the form `video`; a single frame has no rate and is an image."""
    return engine.frames_as == "video" and prompt.frames is not None and len(prompt.frames) > 1


def _video_times(prompt: Prompt) -> dict[str, Any]:
    assert prompt.frames is not None
    n, fps = len(prompt.frames), prompt.frames.fps
    return {
        "num_frames": n,  # without it some servers cut the list
        "fps": fps,
        "frames_indices": list(range(n)),
        "total_num_frames": n,
        "duration": n / fps,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
