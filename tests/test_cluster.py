"""Every recipe in configs/cluster does what it says, as far as that can be known without a cluster.

The scripts run to their end with stand-ins for the cluster's programs (srun, sbatch, ray, torchrun,
curl, ...), which write down how they were called and run what they are to start. Every command of
AVRT that comes out goes through the real command line, and its configuration loads. Ray's own
checks read what is Ray's; shellcheck, kubernetes-validate and SkyPilot check theirs where they are
installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser

from avrt.config import load_config
from avrt.engines.servers import needed_servers
from test_docs import Shown, check_avrt, check_pip

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "configs" / "cluster"
SCRIPTS = sorted(p for p in CLUSTER.rglob("*") if p.suffix in (".sh", ".sbatch"))
MANIFESTS = sorted(p for p in CLUSTER.rglob("*.yaml") if p.parent.name != "cluster")
STAND_INS = ("srun", "sbatch", "scontrol", "squeue", "ray", "torchrun", "curl", "avrt")
STAND_IN = """#!{python}
import json, os, subprocess, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([name, *words]) + "\\n")
told = {{"scontrol": "n1\\nn2", "squeue": "n[1-2]", "sbatch": "17"}}
print(told.get(name, ""))
rest = []
if name == "srun":
    rest = words[next(n for n, word in enumerate(words) if not word.startswith("-")):]
elif "--" in words:
    rest = words[words.index("--") + 1:]
sys.exit(subprocess.run(rest).returncode if rest else 0)
"""
NEEDED = {
    "slurm/servers.sbatch": [["serve"]],
    "slurm/generate.sbatch": [["prepare"], ["generate"]],
    "slurm/train.sbatch": [["sft"], ["grpo"]],
    "slurm/submit.sh": [],
    "ray/generate.sh": [["prepare"], ["generate"]],
    "ray/train.sh": [["sft"], ["grpo"]],
    "kubernetes/generate.sh": [["prepare"], ["generate"]],
    "kubernetes/train.yaml": [["sft"], ["grpo"]],
    "skypilot/servers.yaml": [["serve"]],
    "skypilot/generate.yaml": [["prepare"], ["generate"]],
    "skypilot/train.yaml": [["sft"], ["grpo"]],
}
"""The stages that each recipe runs, in order."""


def script_of(path: Path) -> str:
    """What a recipe runs, as one script."""
    if path.suffix != ".yaml":
        return path.read_text(encoding="utf-8")
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "run" in tree:  # SkyPilot
        return tree["run"]
    return "set -eu\n" + tree["spec"]["template"]["spec"]["containers"][0]["args"][0]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the configurations and the stand-ins, which come first in PATH."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    programs = tmp_path / "avrt" / "bin"  # also what SkyPilot's set-up makes in the home
    programs.mkdir(parents=True)
    stand_in = programs / "stand_in"
    stand_in.write_text(STAND_IN.format(python=sys.executable))
    stand_in.chmod(0o755)
    for name in STAND_INS:
        (programs / name).symlink_to(stand_in)
    (programs / "activate").touch()
    for name, value in {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CALLS": str(tmp_path / "calls.jsonl"),
        "AVRT_VENV": str(tmp_path / "avrt"),
        "AVRT_DIR": str(tmp_path),
        "SERVERS": "n1 n2",
        "SERVERS_JOB": "16",
        "SLURMD_NODENAME": "n1",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "17",
        "SLURM_CPUS_PER_TASK": "8",
        "SKYPILOT_NODE_IPS": "n1\nn2",
        "SKYPILOT_NODE_RANK": "0",
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NUM_GPUS_PER_NODE": "8",
        "CONFIG": "configs/paper.yaml",
        "STUDENT": "thinker",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def run_recipe(place: Path, name: str) -> list[list[str]]:
    """The calls of all stand-ins, in their order."""
    command = ["bash", "-c", script_of(CLUSTER / name), "recipe", "--account=mine"]
    result = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in (place / "calls.jsonl").read_text().splitlines()]


def avrt_words(call: list[str]) -> list[str] | None:
    """The words of a command of AVRT, started by torchrun or as it is."""
    if call[0] == "avrt":
        return call[1:]
    if call[0] == "torchrun":
        options = get_args_parser().parse_args(call[1:])
        assert (options.module, options.training_script) == (True, "avrt")
        return options.training_script_args
    return None


@pytest.mark.parametrize("name", NEEDED)
def test_every_command_of_a_recipe_is_accepted(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [words for call in run_recipe(place, name) if (words := avrt_words(call))]
    assert [words[:1] for words in commands] == NEEDED[name]
    monkeypatch.chdir(place)
    for words in commands:
        check_avrt(Shown(name, "", is_block=True), words)


def test_the_table_of_this_test_has_every_recipe_that_runs_something() -> None:
    manifests = [path for path in MANIFESTS if path.parent.name == "skypilot"]
    paths = [*(p for p in SCRIPTS if p.name != "addresses.sh"), *manifests]
    assert {path.relative_to(CLUSTER).as_posix() for path in paths} <= NEEDED.keys()


def test_the_jobs_of_slurm_depend_on_each_other_and_the_servers_end(place: Path) -> None:
    servers, generate, end, train = run_recipe(place, "slurm/submit.sh")
    assert servers[-1].endswith("servers.sbatch")
    assert "--dependency=after:17" in generate
    assert "--dependency=afterany:17" in end
    assert end[-2:] == ["--wrap", "scancel 17"]
    assert "--dependency=afterok:17" in train
    assert all("--account=mine" in call for call in (servers, generate, end, train))


def test_the_effective_batch_of_every_training_is_the_papers(place: Path) -> None:
    for name in (
        "slurm/train.sbatch",
        "ray/train.sh",
        "kubernetes/train.yaml",
        "skypilot/train.yaml",
    ):
        (place / "calls.jsonl").unlink(missing_ok=True)
        calls = [call for call in run_recipe(place, name) if call[0] == "torchrun"]
        for call in calls:
            options = get_args_parser().parse_args(call[1:])
            processes = int(options.nnodes.split(":")[-1]) * int(options.nproc_per_node)
            settings = [word for word in options.training_script_args if "=" in word]
            config = load_config(ROOT / "configs" / "paper.yaml", settings)
            sft = config.sft.per_device_batch_size * config.sft.gradient_accumulation_steps
            batch = sft if "sft" in options.training_script_args else config.grpo.prompts_per_step
            assert batch * processes == 32


def test_the_servers_of_a_node_have_the_addresses_that_generation_asks(place: Path) -> None:
    serve = next(c for c in run_recipe(place, "slurm/servers.sbatch") if c[0] == "avrt")
    (place / "calls.jsonl").unlink()
    calls = run_recipe(place, "slurm/generate.sbatch")
    generate = next(call for call in calls if call[:2] == ["avrt", "generate"])
    paper = ROOT / "configs" / "paper.yaml"

    def servers(call: list[str]) -> set[tuple[str, tuple[str, int]]]:
        settings = [word for word in call if re.match(r"[\w.]+=", word)]
        found = needed_servers(load_config(paper, settings))
        return {(server.model, server.address) for server in found if server.roles[0] != "rubric"}

    assert len(servers(serve)) == 8
    assert servers(serve) < servers(generate)
    waited = {call[-1] for call in calls if call[0] == "curl"}
    assert waited == {f"http://{h}:{port}/v1/models" for _, (h, port) in servers(generate)}


def test_a_server_that_never_answers_ends_the_wait_with_its_address(place: Path) -> None:
    (place / "avrt" / "bin" / "curl").unlink()
    (place / "avrt" / "bin" / "curl").symlink_to("/bin/false")
    script = "source configs/cluster/addresses.sh; wait_for 0 n1"
    result = subprocess.run(
        ["bash", "-c", script], cwd=place, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "http://n1:8000/v1: no answer" in result.stderr


# What the tools themselves say


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_one_that_bash_and_shellcheck_take(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)
    if (tool := shutil.which("shellcheck")) is not None:
        command = [tool, "--external-sources", "--shell=bash", str(path)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


def test_the_file_of_ray_up_is_what_ray_takes() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    tree = yaml.safe_load((CLUSTER / "ray" / "cluster.yaml").read_text(encoding="utf-8"))
    util.validate_config(util.prepare_config(tree))
    tree["min_wokers"] = 2
    with pytest.raises(Exception, match="min_wokers"):
        util.validate_config(util.prepare_config(tree))


@pytest.mark.parametrize("name", ["ray/generate.sh", "ray/train.sh", "slurm/generate.sbatch"])
def test_rays_own_command_line_takes_the_options(name: str, place: Path) -> None:
    scripts = pytest.importorskip("ray.scripts.scripts")
    calls = [call[1:] for call in run_recipe(place, name) if call[0] == "ray"]
    assert calls
    for words in calls:
        command = scripts.cli
        while words and words[0] in getattr(command, "commands", {}):
            command, words = command.commands[words[0]], words[1:]
        command.make_context(command.name, list(words), resilient_parsing=False)


def manifests_of(name: str) -> list[dict[str, Any]]:
    path = CLUSTER / "kubernetes" / name
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def test_the_servers_on_kubernetes_are_those_of_the_configuration() -> None:
    roles = {"vision": "teachers.vision", "audio": "teachers.audio", "merger": "merger"}
    settings = [f"{role}.engine.base_url=http://{name}:8000/v1" for name, role in roles.items()]
    servers = needed_servers(load_config(ROOT / "configs" / "paper.yaml", settings))
    by_host = {server.address[0]: server for server in servers}
    manifests = manifests_of("servers.yaml")
    shown = [m for m in manifests if m["kind"] == "Deployment"]
    assert {m["metadata"]["name"] for m in manifests if m["kind"] == "Service"} == roles.keys()
    for deployment in shown:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        server = by_host[deployment["metadata"]["name"]]
        assert (*container["command"], *container["args"]) == server.command
        assert container["resources"]["limits"]["nvidia.com/gpu"] == server.n_gpus
    assert len(shown) == 3


def test_the_ray_job_has_the_fields_that_kuberay_knows() -> None:
    """Those of RayJobSpec, RayClusterSpec and the groups in ray.io/v1."""
    (job,) = manifests_of("generate.yaml")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert job["apiVersion"] == "ray.io/v1"
    assert spec.keys() <= {
        *("activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate"),
        *("metadata", "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy"),
        *("entrypoint", "runtimeEnvYAML", "jobId", "submissionMode", "entrypointResources"),
        *("entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished"),
        *("shutdownAfterJobFinishes", "suspend"),
    }
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode")
    assert cluster.keys() <= {
        *("headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling"),
        *("autoscalerOptions", "headServiceAnnotations", "suspend"),
    }
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    group = {"rayStartParams", "template"}
    assert group <= head.keys() <= {*group, "serviceType", "headService", "enableIngress"}
    for worker in workers:
        needed = {*group, "groupName", "minReplicas", "maxReplicas"}
        assert needed <= worker.keys() <= {*needed, "replicas", "numOfHosts", "scaleStrategy"}
    values = [v for g in (head, *workers) for v in g["rayStartParams"].values()]
    assert all(isinstance(value, str) for value in values)
    assert spec["entrypoint"] == "bash configs/cluster/kubernetes/generate.sh"


def test_ray_has_one_version_in_image_and_manifest() -> None:
    (job,) = manifests_of("generate.yaml")
    version = job["spec"]["rayClusterSpec"]["rayVersion"]
    image = (CLUSTER / "kubernetes" / "Dockerfile").read_text(encoding="utf-8")
    assert f"FROM rayproject/ray:{version}-py311" in image
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"\nray=={version}\n" in pins
    for line in re.findall(r"^RUN pip (.*)$", image, re.MULTILINE):
        check_pip(line.split())


def test_the_manifests_are_valid_for_kubernetes() -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    (job,) = manifests_of("generate.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
    pods = [{**pod, "spec": group["template"]["spec"]} for group in groups]
    for manifest in (*pods, *manifests_of("servers.yaml"), *manifests_of("train.yaml")):
        validate(manifest, "1.34", strict=True)


@pytest.mark.parametrize(
    "path", sorted((CLUSTER / "skypilot").glob("*.yaml")), ids=lambda p: p.name
)
def test_skypilot_takes_the_task(path: Path) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert tree.keys() <= {"name", "workdir", "num_nodes", "resources", "volumes", "envs", "setup",
                           "run"}  # fmt: skip
    for part in ("setup", "run"):
        subprocess.run(["bash", "-n", "-c", tree[part]], check=True)
    pytest.importorskip("sky").Task.from_yaml(str(path))


def test_models_in_the_workers_are_set_up_by_a_configuration_that_loads() -> None:
    paths = [ROOT / "configs" / "paper.yaml", CLUSTER / "in-process.yaml"]
    config = load_config(paths)
    roles = (*config.teachers.values(), config.merger)
    assert {role.engine.kind for role in roles} == {"vllm"}
    assert needed_servers(config) == []
