"""A real S3 server on loopback, and a proxy before it that fails as networks and stores do."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from s3fs import S3FileSystem

BUCKET = "clips"


class S3:
    """A bucket behind a proxy; `faults` befall the next requests for an object's content."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.faults: deque[str] = deque()
        """`slow`, `503`, `403`, `truncated`, `cut`, or `ok` for none, each for one request."""
        self.always: str | None = None
        """A fault of every request."""
        self.broken: Callable[[str], bool] | None = None
        """The paths whose contents are always refused with 503."""
        self.n_gets = self.n_heads = self.n_lists = 0
        self.slow_s = 1.0
        self.after_get: Callable[[], None] | None = None
        """Runs once the server has given a content, before the client has it."""
        self.proxy = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.proxy.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.proxy.server_port}"
        self.thread = Thread(target=self.proxy.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def root(self) -> str:
        return f"s3://{BUCKET}/data"

    def put(self, key: str, content: bytes) -> None:
        status, _, text = self.ask("PUT", f"/{BUCKET}/{key}", content)
        assert status == 200, (status, text)

    def upload(self, folder: Path, key: str = "data") -> None:
        """Every file of a folder, below `key`."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{key}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def delete(self, key: str) -> None:
        self.ask("DELETE", f"/{BUCKET}/{key}")

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Any = ()
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the server itself, without faults."""
        connection = HTTPConnection("127.0.0.1", self.port)
        own = {"Authorization": "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3"}
        connection.request(method, path, body, {**own, **dict(headers)})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.getheaders(), content

    def close(self) -> None:
        self.proxy.shutdown()
        self.thread.join()
        self.proxy.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        s3 = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else None
                is_object = self.path.split("?")[0].count("/") > 1 and "list-type" not in self.path
                is_get = self.command == "GET" and is_object
                s3.n_gets += is_get
                s3.n_heads += self.command == "HEAD"
                s3.n_lists += self.command == "GET" and not is_object
                fault = s3.always
                if fault is None and is_get and s3.faults:
                    fault = s3.faults.popleft()
                if is_get and s3.broken is not None and s3.broken(self.path):
                    fault = "503"
                if fault == "503":
                    text = b"<Error><Code>SlowDown</Code><Message>Please wait</Message></Error>"
                    self.reply(503, [("Content-Type", "application/xml")], text, len(text))
                    return
                if fault == "403":
                    text = b"<Error><Code>AccessDenied</Code></Error>"
                    self.reply(403, [("Content-Type", "application/xml")], text, len(text))
                    return
                if fault == "slow":
                    time.sleep(s3.slow_s)
                kept = ("Host", "Content-Length", "Connection")
                headers = {k: v for k, v in self.headers.items() if k not in kept}
                status, found, content = s3.ask(self.command, self.path, body, headers)
                if is_get and s3.after_get is not None:
                    s3.after_get()
                length = len(content)
                if self.command == "HEAD":
                    length = int(dict(found).get("Content-Length", 0))
                if fault in ("truncated", "cut"):
                    content = content[: length // 2]
                    if fault == "truncated":  # as if it were whole: nothing says that it is not
                        length = len(content)
                self.reply(status, found, content, length)
                if fault == "cut":
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

            def reply(self, status: int, headers: Any, content: bytes, length: int) -> None:
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nothing is said."""

        return Handler


@contextmanager
def serve_s3(with_faults: bool = True) -> Iterator[S3]:
    """Serve a bucket; the environment names its address, behind the proxy, and its credentials."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    s3 = S3(port)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": s3.url if with_faults else f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",  # AVRT's own attempts are tested
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()  # of a server before
        while True:
            assert server.poll() is None
            with suppress(ConnectionRefusedError):
                s3.ask("PUT", f"/{BUCKET}")
                break
            time.sleep(0.05)
        try:
            yield s3
        finally:
            S3FileSystem.clear_instance_cache()
            s3.close()
            server.kill()
            server.wait()
