"""Secrets are known by name or by look, and hidden wherever settings are dumped or shown."""

from __future__ import annotations

import json

import pytest

from avrt.config import EngineConfig, MediaConfig, dump_config, load_config
from avrt.config.secrets import hidden_forms, hide, is_secret, mask
from avrt.engines import engine_identity

SECRET = [
    *("api_key", "apiKey", "API-KEY", "apikey", "key", "token", "access_token", "hf_token"),
    *("password", "db_password", "client_secret", "Authorization", "x-api-key", "cookie"),
    *("Ocp-Apim-Subscription-Key", "X-Auth-Token", "sig", "private_key", "credentials"),
]
PLAIN = [
    *("stop_token", "eos_token", "prompt_cache_key", "max_tokens", "api_key_env", "model"),
    *("top_k", "reasoning_effort", "token_type", "keyword", "image_token", "design", "monkey"),
]
LOOKS = ["sk-proj-abcdefgh12345", "hf_abcdefghij", "Bearer abcdefgh", "AIzaSyA1234567890abc"]


@pytest.mark.parametrize("name", SECRET)
def test_a_secret_is_known_by_its_name(name):
    assert is_secret(name, "hush")
    assert mask({"a": [{name: "hush"}]}) == {"a": [{name: "***"}]}


@pytest.mark.parametrize("value", LOOKS)
def test_a_secret_is_known_by_its_look(value):
    assert mask({"anything": value}) == {"anything": "***"}


@pytest.mark.parametrize("name", PLAIN)
def test_settings_that_decide_replies_are_left_as_they_are(name):
    settings = {name: "hush", "n": 5, "none": None, "url": "http://a/v1?api-version=2&x=y"}
    assert mask(settings) == settings


def test_a_key_in_an_address_is_hidden_alone():
    url = "https://a/v1?api-version=2&api-key=planted&key=planted"
    assert mask(url) == "https://a/v1?api-version=2&api-key=***&key=***"
    assert EngineConfig(base_url=url).secrets() == ("planted",)


def test_every_dump_of_an_engine_is_without_secrets(monkeypatch):
    monkeypatch.setenv("MY_KEY", "planted-1")
    monkeypatch.setenv("ORG", "planted-2")
    body = {"api_key": "planted-3", "nested": [{"password": "planted-4"}], "top_k": 5}
    engine = EngineConfig(
        base_url="http://a/v1?token=planted-5",
        api_key_env="MY_KEY",
        headers={"X-Org": "$ORG"},
        extra_body=body,
        vllm_args={"hf_token": "planted-6"},
    )
    config = load_config(None, ()).model_copy()
    merger = config.merger.model_copy(update={"engine": engine})
    dumped = dump_config(config.model_copy(update={"merger": merger}))
    for text in (dumped, engine.model_dump_json(), repr(engine), str(engine), repr(merger)):
        assert "planted" not in text
        assert "$ORG" in text
        assert "top_k" in text
    assert {f"planted-{n}" for n in range(1, 7)} <= {*engine.secrets()}
    assert engine.extra_body["api_key"] == "planted-3", "it is sent"


@pytest.mark.parametrize("kind", ["openai", "vllm"])
def test_a_key_is_in_no_identity_so_that_another_key_gives_the_same_call(kind):
    def identity(key: str) -> dict:
        engine = EngineConfig(kind=kind, extra_body={"api_key": key}, vllm_args={"hf_token": key})
        return dict(engine_identity(engine, "m", None, MediaConfig()))

    assert identity("planted") == identity("another")
    assert "planted" not in json.dumps(identity("planted"))


def test_a_placeholder_is_no_secret_and_replies_keep_their_words():
    assert hidden_forms(["EMPTY", "none", "A", "", "pla/nted"]) == ("pla%2Fnted", "pla/nted")
    secrets = hidden_forms(["EMPTY", "planted"])
    assert hide("<answer>A</answer> EMPTY planted", secrets) == "<answer>A</answer> EMPTY ***"
