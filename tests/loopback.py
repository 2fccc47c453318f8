"""What the HTTP servers of the tests have in common."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Loopback:
    """A real HTTP server on loopback; runs inside `with`."""

    def listen(self, handler: type[BaseHTTPRequestHandler]) -> None:
        """Choose a free port, and let `handler` answer there."""

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *args) -> None:
                """A client that gave up waiting is part of the tests."""

        self.http = Quiet(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
