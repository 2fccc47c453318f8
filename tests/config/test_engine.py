"""Settings of engines: addresses, headers and keys of requests, refused before anything is sent."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from avrt.config import EngineConfig, MediaConfig, TeacherRole, dump_config, load_config
from avrt.config.engine import chat_url
from avrt.engines import engine_identity
from avrt.errors import ConfigError

ADDRESSES = {
    "http://a:8000/v1": "http://a:8000/v1/chat/completions",
    "http://a:8000/v1/": "http://a:8000/v1/chat/completions",
    "https://a/v1///": "https://a/v1/chat/completions",
    "http://a": "http://a/chat/completions",
    "http://a/v1/chat/completions": "http://a/v1/chat/completions",
    "http://a/v1/chat/completions/": "http://a/v1/chat/completions",
    "http://[::1]:8000/v1": "http://[::1]:8000/v1/chat/completions",
    "https://a.openai.azure.com/openai/deployments/d?api-version=2024-10-21": (
        "https://a.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
    ),
    "https://a/d/chat/completions?v=1&w=2": "https://a/d/chat/completions?v=1&w=2",
    "https://a/accounts/b/@cf/m:1/v1": "https://a/accounts/b/@cf/m:1/v1/chat/completions",
}


@pytest.mark.parametrize(("url", "asked"), ADDRESSES.items(), ids=ADDRESSES)
def test_an_address_is_taken_apart_and_put_together(url, asked):
    assert chat_url(EngineConfig(base_url=url).base_urls[0]) == asked


NO_ADDRESS = r"base_url: .* is no address of a server; write http://HOST:PORT/v1"
REFUSED = {
    "localhost:8000/v1": NO_ADDRESS,
    "ftp://host/v1": NO_ADDRESS,
    "http://": NO_ADDRESS,
    "http:///v1": NO_ADDRESS,
    "http://host:seven/v1": NO_ADDRESS,
    "http://host:70000/v1": NO_ADDRESS,
    "http://::1:8000/v1": NO_ADDRESS,
    "http://[::1/v1": NO_ADDRESS,
    "": "empty or holds a blank",
    " http://host/v1": "empty or holds a blank",
    "http://host/v1\n": "empty or holds a blank",
    "http://host/my model/v1": "empty or holds a blank",
    "unix:///run/vllm.sock": "is a Unix socket; AVRT asks over TCP",
    "http+unix://%2Frun%2Fvllm.sock/v1": "is a Unix socket",
    "/run/vllm.sock": "is a Unix socket",
    "http://host/v1#top": "holds a #",
    "https://host/v1?key=***": r"holds \*\*\*",
}


@pytest.mark.parametrize(("url", "complaint"), REFUSED.items(), ids=REFUSED)
def test_an_address_that_is_none_is_refused_with_the_remedy(url, complaint):
    with pytest.raises(ValidationError, match=complaint):
        EngineConfig(base_url=("http://127.0.0.1:8000/v1", url))


@pytest.mark.parametrize(
    "url",
    [
        "http://me:planted@host/v1",
        "https://planted@host:80/v1",
        "http://me:pla:nted@host/v1",
        "http://me:pl/planted@host/v1",
        "http://me:planted@planted@host/v1",
        "me:planted@host/v1",
    ],
)
def test_a_user_or_password_in_an_address_is_refused_without_showing_it(url):
    with pytest.raises(ConfigError, match=r"holds a user or password.*api_key_env") as caught:
        load_config(None, (f"merger.engine.base_url='{url}'", "merger.engine.concurrency=2"))
    assert "planted" not in str(caught.value)


HEADERS = {
    "{Content-Length: '5'}": "Content-Length.* is no header that can be set",
    "{'X Org': a}": "is no header that can be set",
    "{X-Org: 'a$'}": r"headers.X-Org: write \$NAME",
    '{X-Org: "a\\nb"}': "characters that no header has",
    "{X-Api-Key: planted}": r"headers.X-Api-Key: holds a key.*write X-Api-Key: \$NAME",
    "{Authorization: Bearer planted}": "headers.Authorization: holds a key",
    "{Authorization: 'Bearer planted $ORG'}": "headers.Authorization: holds a key",
    "{X-Org: sk-planted-planted}": "headers.X-Org: holds a key",
}


@pytest.mark.parametrize(("headers", "complaint"), HEADERS.items(), ids=HEADERS)
def test_headers_take_secrets_from_the_environment_alone(headers, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_config(None, (f"merger.engine.headers={headers}",))
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("name", ["sk-planted-planted", "hf_plantedplanted", "a planted key"])
def test_a_key_in_the_place_of_its_variable_is_refused_without_showing_it(name):
    with pytest.raises(
        ConfigError, match=r"api_key_env takes the name of an environment"
    ) as caught:
        load_config(None, (f"merger.engine.api_key_env='{name}'",))
    assert "planted" not in str(caught.value)


def identity(**settings) -> dict:
    return dict(engine_identity(EngineConfig(**settings), "m", None, MediaConfig()))


def test_what_is_left_out_of_a_request_is_in_its_key_and_how_it_is_reached_is_not(monkeypatch):
    plain = identity()
    assert identity(omit=("top_p", "seed")) == {**plain, "omit": ["seed", "top_p"]}
    assert identity(omit=("seed", "top_p")) == identity(omit=("top_p", "seed"))
    name = "max_completion_tokens"
    assert identity(max_tokens_as=name) == {**plain, "max_tokens_as": name}
    monkeypatch.setenv("ORG", "acme")
    alike = {"headers": {"X-Org": "$ORG"}, "check_media": False, "max_reply_mb": 1}
    assert identity(base_url="http://there/v1?a=b", **alike) == plain
    assert identity(extra_body={"top_k": None}) == plain


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("{extra_body: {seed: null}}", r"set omit: \['seed'\]"),
        ("{extra_body: {max_tokens: 5}}", "extra_body may not hold max_tokens"),
        (
            "{max_tokens_as: max_completion_tokens, extra_body: {max_completion_tokens: 5}}",
            "extra_body may not hold max_completion_tokens",
        ),
        ("{max_tokens_as: seed}", "max_tokens_as: seed is sent for something else"),
        ("{max_tokens_as: 'max tokens'}", "max_tokens_as"),
        ("{omit: [messages]}", "omit"),
        ("{extra_body: {api_key: '***'}}", "give the key again"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_config(None, (f"merger.engine={settings}",))


def test_null_takes_out_a_field_that_a_preset_sends():
    settings = ("teachers.mine.preset=qwen3-vl-8b-thinking",)
    assert "top_k" in load_config(None, settings).teachers["mine"].engine.fields
    without = load_config(None, (*settings, "teachers.mine.engine.extra_body.top_k=null"))
    assert without.teachers["mine"].engine.fields == {}


def test_a_server_that_gets_no_temperature_may_answer_several_times():
    role = {"model": "m", "prompt": "vision", "modality": "v", "k": 4}
    with pytest.raises(ValidationError, match="would all be the same"):
        TeacherRole.model_validate(role)
    TeacherRole.model_validate({**role, "engine": {"omit": ["temperature"]}})


def test_the_settings_that_are_written_can_be_read_again(tmp_path):
    engine = (
        '{base_url: "http://a/v1?api-version=1", headers: {X-Org: "$ORG"}, omit: [seed], '
        "max_tokens_as: max_completion_tokens, extra_body: {top_k: null, stop_token: x}}"
    )
    config = load_config(None, (f"merger.engine={engine}",))
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml").merger == config.merger
