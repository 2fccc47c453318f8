"""Facts about the server of a page: what it gives out, and to whom. Real requests on loopback."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from avrt.errors import ConfigError
from avrt.live.server import Files, PageServer, open_server

CLIP = bytes(range(256)) * 4
PAGE = "/runs/small/report"


@pytest.fixture
def server(place: Path) -> Iterator[PageServer]:
    run = place / "runs" / "small"
    files = Files((run / "report").resolve(), {run / "samples.parquet": place / "clips"})
    with open_server(0, files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: PageServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """The path goes out as it is, as no browser would send it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        reply = connection.getresponse()
        return reply.status, reply.read(), dict(reply.getheaders())
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        f"{PAGE}/../samples.parquet",
        f"{PAGE}/../../../secret.mp4",
        f"{PAGE}/%2e%2e/%2e%2e/%2e%2e/secret.mp4",
        f"{PAGE}/..%2f..%2f..%2fsecret.mp4",
        f"{PAGE}/..\\..\\..\\secret.mp4",
        f"{PAGE}/%00index.html",
        f"{PAGE}/index.html%00.html",
        f"{PAGE}//index.html",
        f"{PAGE}/./index.html",
        f"{PAGE}/.hidden.html",
        f"{PAGE}/notes.bak",
        f"{PAGE}/media/link.flac",
        f"{PAGE}/folder/secret.mp4",
        f"{PAGE}/folder/runs/small/samples.parquet",
        f"{PAGE}/index.html/",
        f"{PAGE}/index.html/more",
        f"{PAGE}/%ff%fe.html",
        f"{PAGE}/{'a' * 5000}.html",
        "/runs/small/samples.parquet",
        "/clips/other.mp4",
        "/clips/link.mp4",
        "/secret.mp4",
        "/etc/passwd",
        "//etc/passwd",
        "http://example.org/secret.mp4",
    ],
)
def test_nothing_but_the_page_and_the_named_clips_is_given_out(server, path):
    status, body, _ = ask(server, path)
    assert status in (404, 421)
    assert b"private" not in body


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}/", f"{PAGE}/media", f"{PAGE}/media/", "/clips/"])
def test_no_folder_is_listed(server, path):
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "[::1]:{port}"]
)
def test_a_request_by_another_name_is_refused(server, host):
    status, body, _ = ask(server, f"{PAGE}/index.html", Host=host.format(port=server.server_port))
    assert (status, b"a page" in body) == (421, False)


def test_a_request_without_a_host_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
        client.sendall(f"GET {PAGE}/index.html HTTP/1.0\r\n\r\n".encode())
        assert b" 421 " in client.makefile("rb").readline()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_the_server_only_reads(server, method):
    assert ask(server, f"{PAGE}/index.html", method)[0] == 501


def test_the_address_leads_to_the_page(server):
    status, _, headers = ask(server, "/")
    assert (status, headers["Location"]) == (302, f"{PAGE}/index.html")
    assert server.url == f"http://127.0.0.1:{server.server_port}{PAGE}/index.html"
    status, body, headers = ask(
        server, f"{PAGE}/index.html?x=1", Host=f"localhost:{server.server_port}"
    )
    assert (status, body) == (200, b"<!DOCTYPE html><title>a page</title>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src 'self';" in headers["Content-Security-Policy"]


def test_files_have_their_types(server):
    assert ask(server, f"{PAGE}/assets/app.js")[2]["Content-Type"].startswith("text/javascript")
    assert ask(server, f"{PAGE}/media/sound.flac")[2]["Content-Type"] == "audio/flac"


def test_clips_that_the_samples_name_are_given_out(server):
    status, body, headers = ask(server, "/clips/named.mp4")
    assert (status, body, headers["Content-Type"]) == (200, CLIP, "video/mp4")
    assert ask(server, "/clips/more/letters%20%C3%A4%23.mp4")[1] == CLIP


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-", 0, 1024),
        ("bytes=10-19", 10, 20),
        ("bytes=1000-", 1000, 1024),
        ("bytes=1000-99999", 1000, 1024),
        ("bytes=-24", 1000, 1024),
        ("bytes=-99999", 0, 1024),
    ],
)
def test_a_part_of_a_sound_can_be_asked_for(server, asked, start, stop):
    status, body, headers = ask(server, f"{PAGE}/media/sound.flac", Range=asked)
    assert (status, body) == (206, CLIP[start:stop])
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/1024"
    assert headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_part_beyond_the_end_is_refused(server, asked):
    status, body, headers = ask(server, f"{PAGE}/media/sound.flac", Range=asked)
    assert (status, body, headers["Content-Range"]) == (416, b"", "bytes */1024")


@pytest.mark.parametrize(
    "asked", ["bytes=9-1", "bytes=-", "items=0-1", "bytes=0-1,4-5", "bytes=" + "9" * 900 + "-"]
)
def test_a_part_that_makes_no_sense_is_all_of_the_file(server, asked):
    assert ask(server, f"{PAGE}/media/sound.flac", Range=asked)[:2] == (200, CLIP)


def test_an_empty_file_has_no_part(server):
    assert ask(server, f"{PAGE}/media/empty.wav")[:2] == (200, b"")
    assert ask(server, f"{PAGE}/media/empty.wav", Range="bytes=0-")[0] == 416


def test_the_head_alone_has_no_body(server):
    status, body, headers = ask(server, f"{PAGE}/media/sound.flac", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "1024")


def test_a_reader_that_goes_away_disturbs_nobody(server, capfd):
    with socket.create_connection(("127.0.0.1", server.server_port)) as client:
        client.sendall(b"GET /runs HTTP/1.1\r\nHo")
    assert ask(server, f"{PAGE}/index.html")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_taken_port_is_refused_with_a_remedy(server):
    with pytest.raises(ConfigError, match=r"--port \d+: cannot listen .*or 0 for one that is free"):
        open_server(server.server_port, server.files)


def test_the_server_is_on_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1"
