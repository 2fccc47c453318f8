"""A small chat server on loopback, for everything that speaks to one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler

from loopback import Loopback

Reply = tuple[int, dict[str, str], bytes] | Iterable[bytes] | None
"""Status, headers and body; or pieces to write before the connection ends; None just ends it."""


def chat(text: str | None, finish: str = "stop", n_prompt_tokens: int = 7, **message) -> Reply:
    body = {
        "choices": [{"message": {"content": text, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": n_prompt_tokens, "completion_tokens": 3},
    }
    return 200, {}, json.dumps(body).encode()


class Server(Loopback):
    """A real HTTP server on loopback that answers with `answer(body, n_th_request)`."""

    def __init__(self) -> None:
        self.answer: Callable[[dict, int], Reply] = lambda _body, _n: chat("fine")
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.bodies.append(body)
                server.headers.append({**self.headers, "path": self.path})
                reply = server.answer(body, len(server.bodies))
                if reply is None:
                    self.close_connection = True
                    return
                if not isinstance(reply, tuple):
                    for piece in reply:
                        self.wfile.write(piece)
                    self.close_connection = True
                    return
                status, headers, content = reply
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args) -> None:
                pass

        self.listen(Handler)
