"""Which servers a configuration needs, and what starts them."""

from __future__ import annotations

import shlex

import pytest

from avrt.config import load_config
from avrt.config.presets import load_preset
from avrt.engines.servers import Server, choose_servers, needed_servers, render_servers
from avrt.errors import ConfigError


def servers(*overrides: str, files=None) -> dict[str, Server]:
    return {server.roles[0]: server for server in needed_servers(load_config(files, overrides))}


def options(server: Server) -> dict[str, str]:
    return dict(zip(server.command, server.command[1:], strict=False))


def test_the_servers_of_the_paper_are_those_of_its_presets(repository):
    found = servers(files=repository / "configs" / "paper.yaml")
    assert list(found) == ["teachers.vision", "teachers.audio", "merger"]
    names = ("kimi-vl-a3b-thinking", "audio-flamingo-3-think", "qwen2.5-14b-instruct")
    for server, name, port in zip(found.values(), names, (8000, 8001, 8002), strict=True):
        *before, line = load_preset(name).serve.splitlines()
        assert shlex.join(server.command) == f"{line} --host 127.0.0.1 --port {port}"
        assert list(server.before) == before
        assert server.gpus == (str(port - 8000),)
    assert [server for server in found.values() if server.before] == [found["teachers.audio"]]


def test_equal_servers_are_listed_once(repository):
    configs = repository / "configs"
    found = servers(files=configs / "recommended.yaml")
    assert found["teachers.blind"].roles == ("teachers.blind", "merger", "judges.main")
    found = servers(files=[configs / "paper.yaml", configs / "paper-eval.yaml"])
    assert len(found) == 3
    assert found["teachers.audio"].roles == ("teachers.audio", "eval.models.af3")


def test_models_in_this_process_and_hosted_ones_need_no_server(repository):
    assert servers(files=repository / "configs" / "demo.yaml") == {}
    assert "asks a server" in render_servers([])
    hosted = servers(
        "teachers.vision.engine.kind=scripted",
        "teachers.audio.engine.kind=scripted",
        "merger.engine.base_url=https://api.example.org/v1",
    )["merger"]
    assert (hosted.command, hosted.gpus) == ((), ())
    assert "merger: Qwen/Qwen2.5-14B-Instruct at https://api.example.org/v1, hosted" in (
        render_servers([hosted])
    )
    with pytest.raises(ConfigError, match="no server of this configuration is to be started here"):
        choose_servers([hosted], ())


def test_a_list_of_addresses_is_as_many_servers_and_other_machines_bind_all_their_addresses():
    urls = "[http://127.0.0.1:8000/v1, http://127.0.0.1:8005/v1/chat/completions]"
    found = needed_servers(
        load_config(
            None,
            (
                f"teachers.vision.engine.base_url={urls}",
                "teachers.audio.engine.base_url=http://gpu-1:8000/v1",
                "merger.engine.base_url=http://gpu-1:8002/v1",
            ),
        )
    )
    assert [(server.name, server.url, server.gpus) for server in found] == [
        ("vision", "http://127.0.0.1:8000/v1", ("0",)),
        ("vision", "http://127.0.0.1:8005/v1", ("1",)),
        ("audio", "http://gpu-1:8000/v1", ("0",)),
        ("merger", "http://gpu-1:8002/v1", ("1",)),
    ]
    assert [options(server)["--host"] for server in found] == ["127.0.0.1"] * 2 + ["0.0.0.0"] * 2
    assert [server.url for server in choose_servers(found, ())] == [found[0].url, found[1].url]
    assert [server.name for server in choose_servers(found, ("merger", "teachers.audio"))] == [
        "audio",
        "merger",
    ]
    with pytest.raises(ConfigError, match=r"--role vison: asks no server; known: teachers\.vision"):
        choose_servers(found, ("vison",))


def test_this_machine_has_several_names_and_one_server_at_a_port():
    found = needed_servers(
        load_config(
            None,
            (
                "teachers.vision.model=org/both",
                "teachers.audio.model=org/both",
                "teachers.audio.engine.base_url=http://localhost:8000/v1",
                "merger.engine.base_url=http://0.0.0.0:8002/v1",
            ),
        )
    )
    assert [(server.roles, server.gpus) for server in found] == [
        (("teachers.vision", "teachers.audio"), ("0",)),
        (("merger",), ("1",)),
    ]
    assert len(choose_servers(found, ())) == 2
    assert "0.0.0.0:8002/v1, GPU 1\n" in render_servers(found)


def test_a_model_without_a_preset_gets_limits_that_suffice_for_its_roles():
    found = servers(
        "teachers.vision.model=org/see",
        "teachers.vision.max_new_tokens=8192",
        "teachers.vision.engine.concurrency=96",
        "teachers.vision.engine.frames_as=video",
        "media.n_frames=12",
        "teachers.audio.model=org/hear",
        "teachers.audio.engine.base_url=http://127.0.0.1:8001/v1",
        "merger.engine.base_url=http://127.0.0.1:8002/v1",
    )
    see, hear = found["teachers.vision"], found["teachers.audio"]
    assert see.command[:3] == ("vllm", "serve", "org/see")
    assert options(see)["--limit-mm-per-prompt"] == '{"image": 12, "video": 1}'
    assert options(see)["--max-model-len"] == "32768"
    assert options(see)["--max-num-seqs"] == "96"
    assert options(see)["--generation-config"] == "vllm"
    assert "--trust-request-mm-kwargs" in see.command
    assert options(hear)["--limit-mm-per-prompt"] == '{"audio": 1}'
    assert "--trust-request-mm-kwargs" not in hear.command


def test_a_presets_limits_rise_with_the_frames():
    found = servers(
        "teachers.vision.preset=kimi-vl-a3b-thinking",
        "media.n_frames=16",
        "teachers.audio=null",
        "merger.engine.base_url=http://127.0.0.1:8002/v1",
    )
    vision = options(found["teachers.vision"])
    assert (vision["--limit-mm-per-prompt"], vision["--max-model-len"]) == (
        '{"image": 16}',
        "32768",
    )


def test_two_models_at_one_address_are_refused():
    with pytest.raises(ConfigError, match=r"teachers\.vision asks .* and teachers\.audio asks"):
        needed_servers(load_config())


def test_a_command_of_ones_own_is_taken_as_it_is_and_changes_no_key():
    own = "python -m sglang.launch_server --model-path org/m --tp-size 2"
    server = servers(
        f"merger.engine.serve={own}",
        "teachers.vision.engine.kind=scripted",
        "teachers.audio.engine.kind=scripted",
    )["merger"]
    assert shlex.join(server.command) == own
    with pytest.raises(ConfigError, match="VLLM_API_KEY"):
        load_config(None, ("merger.engine.serve=vllm serve m --api-key=abc",))
    with pytest.raises(ConfigError, match="No closing quotation"):
        load_config(None, ('merger.engine.serve=vllm serve "m',))


def test_parallel_servers_take_as_many_gpus():
    found = servers(
        "teachers.vision.engine.kind=scripted",
        "teachers.audio.engine.serve=vllm serve m --tensor-parallel-size 2 --port 8000",
        "merger.engine.base_url=http://127.0.0.1:8002/v1",
    )
    assert [server.gpus for server in found.values()] == [("0", "1"), ("2",)]
    assert "GPU 0,1\n  CUDA_VISIBLE_DEVICES=0,1 vllm" in render_servers([*found.values()])
