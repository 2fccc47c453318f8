"""A server for one reader on this machine: the page of a run, its clips, and the live page.

Listens on loopback alone. A request must name this server as its host, so that no page of another
site can read it through a name of its own (DNS rebinding). Given out are the files of RUN/report
whose kind a page has, and the media files that the run's samples name; nothing else: no list of a
folder, no hidden file, no link that leads out of its folder.

The decision to question: addresses repeat the folders from the nearest one that holds page and
clips, so that the page finds a clip under the same relative path as without a server.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

import pyarrow.parquet as pq
from typing_extensions import override

from avrt.errors import ConfigError

__all__ = ["HOST", "Files", "PageServer", "open_server"]

HOST = "127.0.0.1"
LIVE, STYLE = "/live.html", "/live.css"
"""The addresses of the live page."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
}
"""Kinds of files of a page, by their ending; media may be clips, too."""
_MEDIA_ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg .jpeg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "audio/flac": ".flac",
    "audio/wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg .opus",
    "audio/mp4": ".m4a",
    "audio/aac": ".aac",
    "video/mp4": ".mp4 .m4v",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
}
MEDIA_TYPES = {
    ending: kind for kind, endings in _MEDIA_ENDINGS.items() for ending in endings.split()
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
LIVE_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Files:
    """The files that may be given out."""

    report: Path
    """The folder of the page, as it really lies on the disk."""
    roots: Mapping[Path, Path]
    """By the list of samples that names clips, the folder that they lie in."""

    @cached_property
    def base(self) -> Path:
        """The nearest folder that holds the page and all clips."""
        return Path(os.path.commonpath([self.report, *map(os.path.realpath, self.roots.values())]))

    @property
    def start(self) -> str:
        """The address of the page, below that of the server."""
        return f"/{quote((self.report / 'index.html').relative_to(self.base).as_posix())}"

    @cached_property
    def _clips(self) -> set[str]:
        """Where each clip really lies; those that lie outside of their folder are left out."""
        clips: set[str] = set()
        for samples, root in self.roots.items():
            real_root = Path(os.path.realpath(root))
            for name in _named_media(samples):
                path = os.path.realpath(real_root / name)
                if Path(path).is_relative_to(real_root):
                    clips.add(path)
        return clips

    def find(self, address: str) -> tuple[Path, str] | None:
        """The file at an address, and its type; None: there is none that may be given out."""
        parts = unquote(address, errors="surrogateescape").split("/")[1:]
        if any(part in ("", ".", "..") or part.startswith(".") or "\0" in part for part in parts):
            return None
        path = Path(os.path.realpath(self.base.joinpath(*parts)))
        kind = MEDIA_TYPES.get(path.suffix.lower())
        if path.is_relative_to(self.report):
            kind = kind or TYPES.get(path.suffix.lower())
        elif kind is None or str(path) not in self._clips:
            return None
        # `Path.is_file` raises for a name that no disk can have.
        return (path, kind) if kind and os.path.isfile(path) else None  # noqa: PTH113


def _named_media(samples: Path) -> Iterator[str]:
    """The media files that a list of samples names."""
    if not samples.is_file():
        return
    with pq.ParquetFile(samples) as file:
        names = [name for name in ("video", "image", "audio") if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=names):
            for name in names:
                yield from filter(None, batch.column(name).to_pylist())


class PageServer(ThreadingHTTPServer):
    """Serves until it is shut down; `live` makes the live page."""

    daemon_threads = True

    def __init__(self, port: int, files: Files, live: Callable[[], str] | None = None) -> None:
        self.files, self.live = files, live
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """The address to open."""
        return f"http://{HOST}:{self.server_port}{LIVE if self.live else self.files.start}"

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that turns away in the middle of a file is no fault."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def open_server(port: int, files: Files, live: Callable[[], str] | None = None) -> PageServer:
    """Listen on a port of loopback; 0 takes a free one.

    Raises:
        ConfigError: the port is taken, or may not be used.
    """
    try:
        return PageServer(port, files, live)
    except OSError as error:
        raise ConfigError(
            f"--port {port}: cannot listen on {HOST}: {error.strerror or error}; name another "
            "port, or 0 for one that is free"
        ) from error


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    @property
    def _page(self) -> PageServer:
        assert isinstance(self.server, PageServer)
        return self.server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing for a request."""

    @override
    def version_string(self) -> str:
        return "avrt"

    def _answer(self) -> None:
        port = self._page.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return
        address, live = urlsplit(self.path).path, self._page.live
        if address == "/":
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", LIVE if live else self._page.files.start)
            self._end(0)
        elif live and address == LIVE:
            self._send_text(live(), TYPES[".html"])
        elif live and address == STYLE:
            self._send_text(Path(__file__).with_name("live.css").read_text(), TYPES[".css"])
        elif found := self._page.files.find(address):
            try:
                file = found[0].open("rb")
            except OSError:
                self._refuse(HTTPStatus.NOT_FOUND)
                return
            with file:
                self._send_file(file, found[1])
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _refuse(self, status: HTTPStatus) -> None:
        body = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", TYPES[".txt"])
        self._end(len(body))
        self._write(body)

    def _send_text(self, text: str, kind: str) -> None:
        body = text.encode("utf-8", errors="backslashreplace")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self._end(len(body), LIVE_POLICY)
        self._write(body)

    def _send_file(self, file: IO[bytes], kind: str) -> None:
        size = os.fstat(file.fileno()).st_size
        part, status = self._asked_part(size)
        self.send_response(status)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self.send_header("Content-Range", f"bytes */{size}")
        elif status == HTTPStatus.PARTIAL_CONTENT:
            self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}")
        self.send_header("Content-Type", kind)
        self.send_header("Accept-Ranges", "bytes")
        self._end(len(part))
        file.seek(part.start)
        n_left = len(part)
        while n_left and self.command != "HEAD" and (block := file.read(min(_BLOCK, n_left))):
            self.wfile.write(block)
            n_left -= len(block)
        if n_left and self.command != "HEAD":  # the file has shrunk
            self.close_connection = True

    def _asked_part(self, size: int) -> tuple[range, HTTPStatus]:
        """The bytes that are asked for.

        Several ranges, another unit or a condition are answered with the whole file.
        """
        match = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        first, last = match.groups() if match and "If-Range" not in self.headers else ("", "")
        if not (first or last) or (first and last and int(last) < int(first)):
            return range(size), HTTPStatus.OK
        start = int(first) if first else max(size - int(last), 0)
        part = range(start, min(int(last) + 1, size) if first and last else size)
        if not part:
            return part, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        return part, HTTPStatus.PARTIAL_CONTENT

    def _end(self, n_bytes: int, policy: str = POLICY) -> None:
        headers = {
            "Content-Length": str(n_bytes),
            "Cache-Control": "no-cache",
            "Content-Security-Policy": policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, body: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(body)
