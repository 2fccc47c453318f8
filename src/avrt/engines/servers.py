"""The servers that a configuration needs, with the commands that start them.

A role whose engine is `openai` needs one server per address; roles with one model at one address
share it. The command is `engine.serve`, else that of the preset of the model, else `vllm serve`
with limits that suffice for its roles. Addresses that are not this machine's are listed too.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from avrt.config import Config, EngineConfig, EvalConfig, ModelRole, TeacherRole
from avrt.config.presets import load_preset, preset_names
from avrt.errors import ConfigError

__all__ = ["Server", "choose_servers", "needed_servers", "render_servers", "share_gpus"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")
_LIMITS, _CONTEXT = "--limit-mm-per-prompt", "--max-model-len"
_TOKENS_PER_FRAME, _TOKENS_OF_SOUND, _TOKENS_OF_TEXT = 750, 1_500, 12_000
"""Generous: a frame of 1008 x 560, a minute of sound, two analyses of the teachers."""


@dataclass(frozen=True)
class Server:
    """A server that answers for one or more roles."""

    roles: tuple[str, ...]
    """Settings of the roles, such as `teachers.vision`."""
    model: str
    """The name under which it must serve its model."""
    url: str
    """Its address up to `/v1`."""
    command: tuple[str, ...]
    """Program and arguments; empty: it is hosted, and nothing is to be started."""
    before: tuple[str, ...] = ()
    """Commands that are needed once, before the first start."""
    key_env: str = ""
    """Environment variable of its key."""
    gpus: tuple[str, ...] = ()
    """Numbers or names of its GPUs, as CUDA takes them."""

    @property
    def name(self) -> str:
        """A short name, for files and messages: that of its first role."""
        return self.roles[0].rpartition(".")[2]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def is_here(self) -> bool:
        """Whether its address is of this machine."""
        return self.address[0] in _LOOPBACK

    @property
    def machine(self) -> str:
        """The host of its address; empty: this machine, which has several names."""
        return "" if self.is_here else self.address[0]

    def by_program(self, name: str, path: str) -> Server:
        """The same server, with the program `name` of its command at a path."""
        if self.command[:1] != (name,):
            return self
        return replace(self, command=(path, *self.command[1:]))

    @property
    def port_of_vllm(self) -> int | None:
        """The port at which a command of vLLM listens; None: it is another program, which may mean
        a container's port.
        """
        if not self.command or Path(self.command[0]).name != "vllm":
            return None
        value = _value_of(self.command, "--port") or "8000"  # its own default
        return int(value) if value.isdecimal() else None

    @property
    def n_gpus(self) -> int:
        """GPUs that its command asks for."""
        sizes = ("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp")
        n = 1
        for option in sizes:
            value = _value_of(self.command, option)
            n *= int(value) if value.isdecimal() else 1
        return n


@dataclass(frozen=True)
class _Role:
    """A role that asks a model."""

    setting: str
    model: str
    given: str
    """Letters of its media: v, a."""
    max_new_tokens: int
    engine: EngineConfig


def needed_servers(config: Config) -> list[Server]:
    """The servers of all roles, in their order, each once.

    Raises:
        ConfigError: two models at one address, or two commands for one server.
    """
    by_address: dict[tuple[str, int], list[tuple[str, _Role]]] = {}
    texts = {"merger": config.merger}
    texts |= {f"judges.{name}": judge for name, judge in config.judges.items()}
    if config.rubric != type(config).model_fields["rubric"].default:  # the configuration names it
        texts["rubric"] = config.rubric
    for role in _roles(config.teachers, texts, config.eval):
        for url in role.engine.base_urls if role.engine.kind == "openai" else ():
            base = url.partition("?")[0].rstrip("/").removesuffix("/chat/completions")
            server = Server((), "", base, ())
            key = (server.machine, server.address[1])
            by_address.setdefault(key, []).append((base, role))
    n_frames = config.media.n_frames
    servers = [_server_of(found, n_frames) for found in by_address.values()]
    return _with_gpus(servers)


def choose_servers(servers: Sequence[Server], roles: Sequence[str]) -> list[Server]:
    """The servers of the named roles; without names, all of this machine.

    A name may be a whole setting (`teachers.vision`), its end (`vision`) or its beginning
    (`teachers`).

    Raises:
        ConfigError: no such role asks a server, or none is to be started here.
    """
    if not roles:
        here = [server for server in servers if server.is_here and server.command]
        if not here:
            raise ConfigError(
                "no server of this configuration is to be started here; `avrt serve` without "
                "--start lists them, and --role NAME starts one that has another address"
            )
        return _with_gpus(here)
    known = [setting for server in servers if server.command for setting in server.roles]
    for name in roles:
        if not any(_is_named(setting, name) for setting in known):
            raise ConfigError(f"--role {name}: asks no server; known: {', '.join(known) or 'none'}")
    return _with_gpus(
        [
            server
            for server in servers
            if server.command and any(_is_named(s, n) for s in server.roles for n in roles)
        ]
    )


def share_gpus(servers: Sequence[Server], gpus: Sequence[str]) -> list[Server]:
    """The servers with GPUs out of these, each with its own.

    Raises:
        ConfigError: there are too few.
    """
    needed = sum(server.n_gpus for server in servers)
    if needed > len(gpus):
        raise ConfigError(
            f"{len(servers)} servers need {needed} GPUs of their own, and {len(gpus)} are there; "
            "start some with --role NAME, name GPUs with --gpus (0,0 puts two servers on one), or "
            "set engine.base_url of the others to another machine"
        )
    left = iter(gpus)
    return [replace(each, gpus=tuple(islice(left, each.n_gpus))) for each in servers]


def render_servers(servers: Sequence[Server]) -> str:
    """The servers with their commands, to be copied."""
    if not servers:
        return "no role of this configuration asks a server"
    lines: list[str] = []
    for server in servers:
        place = "" if server.command else ", hosted"
        gpus = ",".join(server.gpus)
        if gpus:
            place = f", GPU {gpus}{f' of {server.machine}' if server.machine else ''}"
        lines.append(f"{', '.join(server.roles)}: {server.model} at {server.url}{place}")
        lines += [f"  once: {command}" for command in server.before]
        if server.command:
            seen = f"CUDA_VISIBLE_DEVICES={gpus} " if gpus else ""
            lines.append(f"  {seen}{shlex.join(server.command)}")
    return "\n".join(lines)


def _roles(
    teachers: Mapping[str, TeacherRole], texts: Mapping[str, ModelRole], evaluated: EvalConfig
) -> Iterator[_Role]:
    """Every role that asks a model."""
    for name, teacher in teachers.items():
        given = teacher.modality.replace("none", "")
        yield _Role(
            f"teachers.{name}", teacher.model, given, teacher.max_new_tokens, teacher.engine
        )
    for name, role in texts.items():
        yield _Role(name, role.model, "", role.max_new_tokens, role.engine)
    for name, model in evaluated.models.items():
        if not isinstance(model, str) and model.engine is not None:
            given = (model.modality or "av").replace("none", "")
            longest = model.max_new_tokens or evaluated.max_new_tokens
            yield _Role(f"eval.models.{name}", model.model, given, longest, model.engine)


def _server_of(found: Sequence[tuple[str, _Role]], n_frames: int) -> Server:
    """The server at one address, for all roles that ask it."""
    roles = [role for _, role in found]
    url, first = found[0]
    for role in roles:
        if role.model != first.model:
            raise ConfigError(
                f"{first.setting} asks {first.model} and {role.setting} asks {role.model} at one "
                f"address, {url}; a server has one model: set engine.base_url of one of them"
            )
    own = {role.engine.serve: role.setting for role in roles if role.engine.serve}
    if len(own) > 1:
        one, other = list(own.values())[:2]
        raise ConfigError(
            f"{one}.engine.serve and {other}.engine.serve are two commands for the server at "
            f"{url}; give the same, or another base_url"
        )
    settings = tuple(role.setting for role in roles)
    server = Server(settings, first.model, url, (), key_env=first.engine.api_key_env)
    if url.startswith("https:"):
        return server
    if own:
        return replace(server, command=tuple(shlex.split(next(iter(own)))))
    *before, line = _serve_lines(first.model) or [f"vllm serve {shlex.quote(first.model)}"]
    command = _completed_command(shlex.split(line), server, roles, n_frames)
    return replace(server, command=tuple(command), before=tuple(before))


def _serve_lines(model: str) -> list[str]:
    """What a preset says of serving the model; empty: no preset has it."""
    presets = map(load_preset, preset_names())
    found = next((preset for preset in presets if preset.role["model"] == model), None)
    return found.serve.splitlines() if found is not None else []


def _completed_command(
    command: list[str], server: Server, roles: Sequence[_Role], n_frames: int
) -> list[str]:
    """The command with what these roles need beyond it, and the address."""
    limits: dict[str, int] = json.loads(_value_of(command, _LIMITS) or "{}")
    as_video = any("v" in role.given and role.engine.frames_as == "video" for role in roles)
    for half, (kind, n) in {"v": ("image", n_frames), "a": ("audio", 1)}.items():
        if any(half in role.given for role in roles):
            limits[kind] = max(n, limits.get(kind, 0))
    if as_video:
        limits["video"] = 1
    if limits:
        command = _with_option(command, _LIMITS, json.dumps(limits))
    longest = _value_of(command, _CONTEXT)
    context = max(_context(roles, n_frames), int(longest or 0))
    command = _with_option(command, _CONTEXT, str(context))
    if not longest:
        in_flight = max(-(-r.engine.concurrency // len(r.engine.base_urls)) for r in roles)
        command += ["--max-num-seqs", str(in_flight), "--generation-config", "vllm"]
    sent = [role.engine.extra_body for role in roles]
    if as_video or any({"mm_processor_kwargs", "media_io_kwargs"} & set(body) for body in sent):
        command.append("--trust-request-mm-kwargs")
    host, port = server.address
    bound = host if server.is_here else "0.0.0.0"
    return [*command, "--host", bound, "--port", str(port)]


def _context(roles: Sequence[_Role], n_frames: int) -> int:
    """A context that holds media, text and reply: a power of two."""

    def needed(role: _Role) -> int:
        tokens = n_frames * _TOKENS_PER_FRAME if "v" in role.given else 0
        tokens += _TOKENS_OF_SOUND if "a" in role.given else 0
        return tokens + (0 if role.given else _TOKENS_OF_TEXT) + 1_000 + role.max_new_tokens

    return 1 << (max(map(needed, roles)) - 1).bit_length()


def _value_of(command: Sequence[str], option: str) -> str:
    """The value of an option, or an empty text."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return ""


def _with_option(command: Sequence[str], option: str, value: str) -> list[str]:
    """The command with an option set, at its place or at the end."""
    if option not in command:
        return [*command, option, value]
    at = list(command).index(option) + 1
    return [*command[:at], value, *command[at + 1 :]]


def _with_gpus(servers: Sequence[Server]) -> list[Server]:
    """The servers with GPUs of their own, counted from 0 on every machine."""
    taken: dict[str, int] = {}
    placed: list[Server] = []
    for server in servers:
        start = taken.get(server.machine, 0)
        n = server.n_gpus if server.command else 0
        taken[server.machine] = start + n
        placed.append(replace(server, gpus=tuple(map(str, range(start, start + n)))))
    return placed


def _is_named(setting: str, name: str) -> bool:
    return name in (setting, setting.rpartition(".")[2]) or setting.startswith(f"{name}.")
