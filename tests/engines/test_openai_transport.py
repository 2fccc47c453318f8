"""What lies between the HTTP engine and its server: addresses, proxies, certificates, sizes."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from avrt.config import EngineConfig, MediaConfig
from avrt.engines import make_engine
from avrt.errors import ConfigError, EngineError
from chat_server import Server, chat

CALL = """
import sys
from avrt.config import EngineConfig, MediaConfig
from avrt.engines import make_engine
from avrt.types import Prompt, Request, Sampling

engine = make_engine(EngineConfig(base_url=sys.argv[1]), "m", None, MediaConfig())
engine.generate([Request("k", Prompt("hi"), Sampling())], lambda _, done: print(done.text))
"""


pytestmark = pytest.mark.usefixtures("short_waits")


def engine_for(url: str, **settings):
    return make_engine(EngineConfig(base_url=url, **settings), "m", None, MediaConfig())


def test_a_key_with_a_line_end_is_refused_without_showing_it(server, make_request, monkeypatch):
    monkeypatch.setenv("AVRT_TEST_KEY", "sk-secret\n")
    engine = engine_for(server.url, api_key_env="AVRT_TEST_KEY")
    with pytest.raises(ConfigError, match="AVRT_TEST_KEY") as caught:
        engine.generate([make_request("k", "hi")], lambda *_: None)
    assert "sk-secret" not in str(caught.value)
    assert server.bodies == []


def test_a_redirect_is_a_failure_and_takes_the_key_nowhere(server, make_request, collect):
    with Server() as elsewhere:
        server.answer = lambda _body, _n: (302, {"Location": elsewhere.url}, b"")
        done = collect(engine_for(server.url), [make_request("k", "hi")])["k"]
        assert (done.error_class, elsewhere.bodies) == ("http_302", [])


def test_a_body_of_many_megabytes_arrives_whole(server, make_request, collect):
    text = "é" * 3_000_000
    assert collect(engine_for(server.url), [make_request("k", text)])["k"].text == "fine"
    assert server.bodies[0]["messages"][0]["content"] == text


def test_a_compressed_reply_is_read(server, make_request, collect):
    status, _, body = chat("fine")
    server.answer = lambda _body, _n: (status, {"Content-Encoding": "gzip"}, gzip.compress(body))
    assert collect(engine_for(server.url), [make_request("k", "hi")])["k"].text == "fine"


def test_the_proxy_of_the_environment_is_used_but_not_for_what_is_excepted(
    server, make_request, collect, monkeypatch
):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    far = "http://far.invalid:8000/v1"
    for url in (far, server.url):
        assert collect(engine_for(url), [make_request("k", "hi")])["k"].text == "fine"
    paths = [headers["path"] for headers in server.headers]
    assert paths == [f"{far}/chat/completions", "/v1/chat/completions"]


@pytest.fixture
def tls_server(tmp_path) -> Iterator[tuple[str, Path]]:
    """Address of a server with a certificate that nobody vouches for, and that certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = chat("fine")
            assert isinstance(reply, tuple)
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply[2])))
            self.end_headers()
            self.wfile.write(reply[2])

        def log_message(self, *args) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *args) -> None:
            """A client that breaks off the handshake is part of the tests."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Quiet(("127.0.0.1", 0), Handler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"https://127.0.0.1:{http.server_port}/v1", certificate
        http.shutdown()
        thread.join()


def test_a_certificate_that_nobody_vouches_for_stops_the_run(tls_server, make_request):
    url, _ = tls_server
    with pytest.raises(EngineError, match=r"no server answers .*certificate verify failed"):
        engine_for(url, max_attempts=2).generate([make_request("k", "hi")], lambda *_: None)


def test_a_certificate_that_the_environment_names_is_trusted(tls_server):
    url, certificate = tls_server
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CALL, url],
        env={**os.environ, "SSL_CERT_FILE": str(certificate)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
