"""Start servers, wait until each answers with its model, watch them, and end them all together.

Every server is the leader of a process group of its own, so that what it starts ends with it. Its
output goes to a file in the run folder. One that ends ends the others: a stage that goes on with a
part of its models only collects failures.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrt.engines.servers import Server
from avrt.errors import ConfigError, EngineError
from avrt.runs import Ticker, format_duration, say

__all__ = ["check_startable", "find_gpus", "run_servers"]

POLL_S = 0.25
GRACE_S = 30.0
"""How long a server may take to end by itself."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TAIL = 15
"""Lines of its log that a message shows."""
_REMEDIES = {
    "out of memory": "put it on another GPU, or lower --max-model-len or --max-num-seqs",
    "No available memory for the cache": "lower --max-model-len, or use a GPU with more memory",
    "KV cache is needed": "lower --max-model-len, or use a GPU with more memory",
    "unrecognized arguments": "this server is of another version: give its command as engine.serve",
    "gated repo": "accept the model's terms on its page, and set HF_TOKEN",
    "Repository Not Found": "check the name of the model, or download it to a folder",
    "Address already in use": "end what listens there, or set another engine.base_url",
}
"""What servers write before they end, and what to do."""


@dataclass
class _Started:
    """A server that was started."""

    server: Server
    process: subprocess.Popen[bytes]
    log: Path
    since_s: float
    answered: bool = False

    @property
    def waited(self) -> str:
        return format_duration(time.monotonic() - self.since_s)


def check_startable(servers: Sequence[Server]) -> None:
    """Refuse what could not start, before anything is started.

    Raises:
        ConfigError: a program or a model is missing, a command names another port than its address,
            or a port is taken.
    """
    for server in servers:
        program = server.command[0]
        if shutil.which(program) is None:
            raise ConfigError(
                f"{program}: not found, and {server.roles[0]} needs it; {_way_to(program)}"
            )
        if server.before and not Path(server.command[2]).is_dir():
            steps = "\n".join(f"  {step}" for step in server.before)
            raise ConfigError(
                f"{server.command[2]}: not found; {server.roles[0]} needs it: run once\n{steps}"
            )
        host, port = server.address
        if (named := server.port_of_vllm) not in (None, port):
            raise ConfigError(
                f"{server.roles[0]}: its command listens at port {named}, but its address is "
                f"{server.url}; give both the same, in engine.serve and engine.base_url"
            )
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.settimeout(1.0)
            is_taken = probe.connect_ex((host if server.is_here else "127.0.0.1", port)) == 0
        if is_taken:
            raise ConfigError(
                f"port {port}, of {', '.join(server.roles)}, is taken: {_who(server)}; end "
                "that program, set another engine.base_url, or leave the role out with --role"
            )


def _way_to(program: str) -> str:
    if "=" in program or program == "cd":
        return (
            "engine.serve is a program with its arguments and runs without a shell: give GPUs with "
            "--gpus, other variables with `env NAME=VALUE PROGRAM`, more with `bash -c '...'`"
        )
    return (
        "vLLM belongs into an environment of its own: name its program with --vllm PATH, or set "
        "engine.serve"
    )


def find_gpus() -> tuple[str, ...] | None:
    """The NVIDIA GPUs of this process, as CUDA names them; None: not known."""
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return tuple(given.split(","))
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        return None
    return tuple(map(str, range(listed.stdout.count("\n"))))


def run_servers(servers: Sequence[Server], folder: Path, limit_s: float) -> None:
    """Start the servers and stay until a signal comes; then end them.

    `folder` gets a log of each; `limit_s` is the longest wait until all answer.

    Raises:
        EngineError: one ended, or does not answer in time; all are ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started: list[_Started] = []
    try:
        for server in servers:
            started.append(_start(server, folder / f"{server.name}-{server.address[1]}.log"))
            say(f"{server.name}: started, log {started[-1].log}")
        with closing(Ticker(lambda: _line(started))):
            _wait(started, limit_s)
        say(f"all {len(started)} servers answer; Ctrl-C ends them")
        while True:
            _check_alive(started)
            time.sleep(POLL_S)
    finally:
        _end_undisturbed(started)


def _start(server: Server, log: Path) -> _Started:
    environment = dict(os.environ)
    if server.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(server.gpus)
    with log.open("wb") as output:
        process = subprocess.Popen(
            server.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return _Started(server, process, log, time.monotonic())


def _wait(started: Sequence[_Started], limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    while not all(each.answered for each in started):
        _check_alive(started)
        for each in started:
            if not each.answered and _answers(each):
                each.answered = True
                say(f"{each.server.name}: answers after {each.waited}")
        late = [each for each in started if not each.answered]
        if late and time.monotonic() > deadline_s:
            raise EngineError(
                f"{late[0].server.name}: no answer from {late[0].server.url}/models within "
                f"{format_duration(limit_s)}; raise --timeout if it is still loading\n"
                f"{_tail(late[0].log)}"
            )
        time.sleep(POLL_S)


def _check_alive(started: Sequence[_Started]) -> None:
    for each in started:
        code = each.process.poll()
        if code is None:
            continue
        text = each.log.read_text(encoding="utf-8", errors="replace")
        said = (remedy for words, remedy in _REMEDIES.items() if words.lower() in text.lower())
        remedy = next(said, "read its whole log, or run its command by hand (`avrt serve CONFIG`)")
        how = f"exit code {code}" if code >= 0 else f"{signal.Signals(-code).name}"
        raise EngineError(
            f"{each.server.name}: ended after {each.waited} with {how}, so the other servers are "
            f"ended too; {remedy}\n{_tail(each.log)}"
        )


def _answers(each: _Started) -> bool:
    """Whether it answers.

    Raises:
        EngineError: it answers, but serves another model.
    """
    names = _served(each.server)
    if names is not None and each.server.model not in names:
        raise EngineError(
            f"{each.server.name}: serves {', '.join(names) or 'no model'} and not "
            f"{each.server.model}; add --served-model-name {each.server.model} to its command"
        )
    return names is not None


def _served(server: Server) -> list[str] | None:
    """The names of the models at an address; None: no server answers there (yet)."""
    key = os.environ.get(server.key_env, "") if server.key_env else ""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = server.url if server.is_here else f"http://127.0.0.1:{server.address[1]}/v1"
    request = urllib.request.Request(f"{url}/models", headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=2.0) as reply:
            return [str(model["id"]) for model in json.load(reply)["data"]]
    except (OSError, ValueError, KeyError, TypeError, urllib.error.URLError):
        return None


def _who(server: Server) -> str:
    names = _served(server)
    return "another program listens there" if names is None else f"it serves {', '.join(names)}"


def _line(started: Sequence[_Started]) -> str:
    late = [each for each in started if not each.answered]
    if not late:
        return f"servers: {len(started)}/{len(started)} answer"
    last = _last_line(late[0].log)
    return (
        f"servers: {len(started) - len(late)}/{len(started)} answer, "
        f"{late[0].server.name} not after {late[0].waited}{f': {last}' if last else ''}"
    )


def _last_line(log: Path) -> str:
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        lines = file.read().decode("utf-8", "replace").replace("\r", "\n").split("\n")
        return next((line.strip()[:120] for line in reversed(lines) if line.strip()), "")
    return ""


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    shown = "\n".join(f"  {line[:300]}" for line in lines[-_TAIL:])
    return f"the end of {log}:\n{shown}" if lines else f"{log} is empty"


def _end(started: Sequence[_Started]) -> None:
    """End every process group: asked first, then by force."""
    if n_alive := sum(each.process.poll() is None for each in started):
        say(f"ending {n_alive} servers, by force after {format_duration(GRACE_S)}")
    for each in started:
        with suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGTERM)
    deadline_s = time.monotonic() + GRACE_S
    for each in started:
        with suppress(subprocess.TimeoutExpired):
            each.process.wait(max(0.0, deadline_s - time.monotonic()))
        with suppress(ProcessLookupError):  # also what it started and left behind
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait()


def _end_undisturbed(started: Sequence[_Started]) -> None:
    """A second signal, from someone who cannot wait, leaves no server behind."""
    before: dict[int, Any] = {}
    is_over = False
    while not is_over:
        with suppress(KeyboardInterrupt):  # it came before the signals are ignored
            for number in _SIGNALS:
                before.setdefault(number, signal.getsignal(number))
                signal.signal(number, signal.SIG_IGN)
            _end(started)
            is_over = True
    for number, handler in before.items():
        signal.signal(number, handler)
