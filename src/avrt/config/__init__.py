"""The configuration: every setting with its default, its meaning and its limits.

`load.py` reads files and overrides into a `Config`; the other files hold its sections, the packaged
presets and the published baselines. Nothing above this folder is imported here, and nothing heavy.
"""

from __future__ import annotations

from avrt.config.cluster import RayConfig
from avrt.config.data import (
    BenchmarkConfig,
    DataConfig,
    GivenMedia,
    MediaConfig,
    PrepareConfig,
    RunConfig,
)
from avrt.config.load import Config, describe_config, dump_config, load_config
from avrt.config.roles import (
    EngineConfig,
    JudgeRole,
    LoraConfig,
    ModelRole,
    StudentConfig,
    TeacherRole,
)
from avrt.config.section import Section
from avrt.config.stages import (
    BuildConfig,
    EvalConfig,
    EvalModel,
    GenerateConfig,
    GrpoConfig,
    ReportConfig,
    RolloutsConfig,
    SftConfig,
)

__all__ = [
    "BenchmarkConfig",
    "BuildConfig",
    "Config",
    "DataConfig",
    "EngineConfig",
    "EvalConfig",
    "EvalModel",
    "GenerateConfig",
    "GivenMedia",
    "GrpoConfig",
    "JudgeRole",
    "LoraConfig",
    "MediaConfig",
    "ModelRole",
    "PrepareConfig",
    "RayConfig",
    "ReportConfig",
    "RolloutsConfig",
    "RunConfig",
    "Section",
    "SftConfig",
    "StudentConfig",
    "TeacherRole",
    "describe_config",
    "dump_config",
    "load_config",
]
