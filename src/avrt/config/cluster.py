"""Settings of a Ray cluster.

As in `avrt.config.data`, the text below a field is its documentation.
"""

from __future__ import annotations

from pydantic import Field

from avrt.config.section import Section

__all__ = ["RayConfig"]


class RayConfig(Section):
    """The cluster of `run.on: ray`. No setting here is part of a call's key."""

    address: str = Field(default="auto", min_length=1)
    """Address of the head of the cluster, HOST:PORT, to which this machine belongs; `auto`: the
    cluster that runs here, or that RAY_ADDRESS names; `local`: a cluster of this machine alone, for
    this command.
    """
    workers: int | None = Field(default=None, ge=1)
    """Most workers of a stage; null: as many as the cluster has room for, also on nodes that join
    later. A worker reads media, in a process for each of its CPUs, and asks the model.
    """
    cpus_per_worker: int = Field(default=2, ge=1)
    """CPUs that a worker takes."""
    gpus_per_worker: float | None = Field(default=None, ge=0)
    """GPUs that a worker takes, such as 0.5 for two workers on one; null: one where the model runs
    in the worker (vllm, and transformers unless its device is cpu), else none.
    """
    start_s: float = Field(default=300.0, gt=0)
    """Longest wait for the first worker, before the command ends with what the cluster lacks."""
