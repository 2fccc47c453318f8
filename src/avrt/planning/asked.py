"""The models that a configuration asks, with all that decides what a call of each costs.

Nothing is read, asked or loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from avrt.config import EngineConfig, EvalConfig, EvalModel, JudgeRole, ModelRole, TeacherRole
from avrt.engines.servers import Server
from avrt.types import Given

__all__ = ["Asked", "evaluated_models", "generating_models"]


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


def generating_models(
    servers: Sequence[Server],
    teachers: Mapping[str, TeacherRole],
    merger: ModelRole | None,
    judges: Mapping[str, JudgeRole],
) -> Iterator[Asked]:
    """The teachers, the merger if there is one, and the judges; `servers`: of all roles."""
    for name, teacher in teachers.items():
        setting = f"teachers.{name}"
        asked = _asked("trace", setting, teacher, teacher.modality, teacher.k, servers)
        yield replace(asked, hides_thought=not teacher.merge_thought)
    if merger is not None:
        yield _asked("merge", "merger", merger, "none", 1, servers)
    for name, judge in judges.items():
        yield _asked("judge", f"judges.{name}", judge, "none", judge.votes, servers)


def _asked(
    stage: str, setting: str, role: ModelRole, given: Given, n: int, servers: Sequence[Server]
) -> Asked:
    own = _servers_of(setting, servers)
    return Asked(
        stage, setting, role.model, role.prompt, given, role.engine, n, role.max_new_tokens, own
    )


def evaluated_models(
    servers: Sequence[Server], settings: EvalConfig, student_prompt: str
) -> Iterator[Asked]:
    """The models of `eval.models`; those that name no engine are in this process."""
    kind = "transformers" if settings.engine == "auto" else settings.engine
    own = EngineConfig(kind=kind, batch_size=settings.batch_size)
    for name, value in settings.models.items():
        role = EvalModel(model=value) if isinstance(value, str) else value
        setting = f"eval.models.{name}"
        yield Asked(
            stage="eval",
            name=setting,
            model=role.model,
            prompt=role.prompt or student_prompt,
            given=role.modality,
            engine=role.engine or own,
            n_answers=role.k,
            max_new_tokens=role.max_new_tokens or settings.max_new_tokens,
            servers=_servers_of(setting, servers),
        )


def _servers_of(setting: str, servers: Sequence[Server]) -> tuple[Server, ...]:
    return tuple(server for server in servers if setting in server.roles)
