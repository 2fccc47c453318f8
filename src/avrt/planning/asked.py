"""The models that a configuration asks, with all that decides what a call of each costs.

Reads the packaged prompts. Nothing is asked or loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from avrt.config import Config, EngineConfig, EvalModel
from avrt.engines.servers import Server, needed_servers
from avrt.types import Given

__all__ = ["Asked", "asked_models"]


@dataclass(frozen=True)
class Asked:
    """A role of a stage, and the model that it asks."""

    stage: str
    """trace, merge, judge or eval."""
    name: str
    """The setting, such as `teachers.vision`; its rates begin with it."""
    model: str
    prompt: str
    given: Given | None
    """None: whatever is evaluated."""
    engine: EngineConfig
    n_answers: int
    """Of each question."""
    max_new_tokens: int
    servers: tuple[Server, ...] = ()
    """Those that answer it; empty: a model in this process, or a script."""
    hides_thought: bool = False
    """Whether the merger reads only what follows this teacher's thought."""

    @property
    def role(self) -> str:
        """Its name in the ledger."""
        return self.name.rpartition(".")[2]

    @property
    def sizes(self) -> str:
        """The rates of its size begin with it."""
        is_student = self.stage == "eval" and not self.servers
        return "student" if is_student else self.name

    @property
    def is_hosted(self) -> bool:
        """Whether someone else runs it, for money per token."""
        return any(not server.command for server in self.servers)

    @property
    def n_gpus(self) -> int:
        """GPUs of one server, or of the model in one process; 0: it needs none here."""
        if self.servers:
            return 0 if self.is_hosted else self.servers[0].n_gpus
        if self.engine.kind == "vllm":
            sizes = ("tensor_parallel_size", "pipeline_parallel_size")
            first, second = (int(self.engine.vllm_args.get(size, 1)) for size in sizes)
            return first * second
        return 0 if self.engine.kind == "scripted" else 1

    @property
    def n_gpus_in_all(self) -> int:
        """GPUs of all its servers, as the configuration names them."""
        return sum(server.n_gpus for server in self.servers) or self.n_gpus

    @property
    def most_rows(self) -> int:
        """Replies that one server, or the process, may write at a time."""
        if self.engine.kind in ("transformers", "vllm"):
            return self.engine.batch_size
        return max(1, self.engine.concurrency // max(1, len(self.servers)))


def asked_models(config: Config) -> list[Asked]:
    """All models that the configuration asks, in the order of the stages.

    Raises:
        ConfigError: two models at one address.
    """
    servers: dict[str, list[Server]] = {}
    for server in needed_servers(config):
        for setting in server.roles:
            servers.setdefault(setting, []).append(server)
    return [*_generating(config, servers), *_evaluated(config, servers)]


def _generating(config: Config, servers: Mapping[str, list[Server]]) -> Iterator[Asked]:
    for name, teacher in config.teachers.items():
        setting = f"teachers.{name}"
        yield Asked(
            "trace", setting, teacher.model, teacher.prompt, teacher.modality, teacher.engine,
            teacher.k, teacher.max_new_tokens, tuple(servers.get(setting, ())),
            not teacher.merge_thought,
        )  # fmt: skip
    if config.generate.traces_of is None:
        merger = config.merger
        yield Asked(
            "merge", "merger", merger.model, merger.prompt, "none", merger.engine, 1,
            merger.max_new_tokens, tuple(servers.get("merger", ())),
        )  # fmt: skip
    for name, judge in config.judges.items():
        setting = f"judges.{name}"
        yield Asked(
            "judge", setting, judge.model, judge.prompt, "none", judge.engine, judge.votes,
            judge.max_new_tokens, tuple(servers.get(setting, ())),
        )  # fmt: skip


def _evaluated(config: Config, servers: Mapping[str, list[Server]]) -> Iterator[Asked]:
    kind = "transformers" if config.eval.engine == "auto" else config.eval.engine
    own = EngineConfig(kind=kind, batch_size=config.eval.batch_size)
    for name, value in config.eval.models.items():
        role = EvalModel(model=value) if isinstance(value, str) else value
        setting = f"eval.models.{name}"
        yield Asked(
            "eval", setting, role.model, role.prompt or config.student.prompt,
            role.modality, role.engine or own, role.k,
            role.max_new_tokens or config.eval.max_new_tokens, tuple(servers.get(setting, ())),
        )  # fmt: skip
