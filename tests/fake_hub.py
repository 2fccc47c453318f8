"""The Hub on loopback, as far as a push needs it: repositories that hold files in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback import Loopback

COMMIT = "0" * 40


@dataclass
class Repository:
    """What was pushed."""

    private: bool
    sdk: str | None
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


class Hub(Loopback):
    """A server that creates repositories, takes commits and gives files back."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        """By type and name, such as `datasets/me/traces`."""
        self.tokens: set[str | None] = set()
        self.refuses = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub.tokens.add(self.headers.get("Authorization"))
                status, content, headers = hub.reply(self.path.partition("?")[0], body)
                if not isinstance(content, bytes):
                    content = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_HEAD = answer  # noqa: N815

            def log_message(self, *args) -> None:
                pass

        self.listen(Handler)
        self.url = self.url.removesuffix("/v1")

    def reply(self, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers for a request."""
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        if found := re.fullmatch(
            r"/(?:(datasets|spaces)/)?([\w-]+/[\w-]+)/resolve/main/(.+)", path
        ):
            kind, name, file = found.groups()
            content = self.repositories[f"{kind or 'models'}/{name}"].files[file]
            tag = f'"{hashlib.sha1(content).hexdigest()}"'
            return 200, content, {"ETag": tag, "X-Repo-Commit": COMMIT}
        found = re.fullmatch(r"/api/((?:models|datasets|spaces)/[\w-]+/[\w-]+)(/.*)?", path)
        assert found is not None, path
        name, action = found.groups(default="")
        repository = self.repositories.get(name)
        if repository is None:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        actions: dict[str, Callable[[], Any]] = {
            "": lambda: {"id": name.partition("/")[2], "sha": COMMIT},
            "/revision/main": lambda: {"id": name.partition("/")[2], "sha": COMMIT},
            "/tree/main": lambda: [
                {"type": "file", "path": file, "size": len(content), "oid": COMMIT}
                for file, content in repository.files.items()
            ],
            "/preupload/main": lambda: {
                "files": [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
            },
            "/commit/main": lambda: self._commit(name, repository, body),
        }
        return 200, actions[action](), {}

    def _create(self, wanted: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        if self.refuses:
            return 403, {"error": "this token may not write"}, {}
        name = f"{wanted.get('type', 'model')}s/{wanted['organization']}/{wanted['name']}"
        private = wanted.get("private", wanted.get("visibility") == "private")
        self.repositories[name] = Repository(private, wanted.get("sdk"))
        return 200, {"url": f"{self.url}/{name.removeprefix('models/')}"}, {}

    def _commit(self, name: str, repository: Repository, body: bytes) -> dict[str, Any]:
        for line in map(json.loads, body.splitlines()):
            key, value = line["key"], line["value"]
            if key == "header":
                repository.messages.append(value["summary"])
            elif key == "file":
                assert value["encoding"] == "base64"
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif key == "deletedFile":
                del repository.files[value["path"]]
        url = f"{self.url}/{name.removeprefix('models/')}/commit/{COMMIT}"
        return {"success": True, "commitOid": COMMIT, "commitUrl": url}
