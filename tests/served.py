"""A program that stands for `vllm serve`: it answers /v1/models with a name, dies, or is silent.

Started as `python served.py MODEL PORT [how]`. It starts a process of its own, as vLLM does, and
prints the number of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


def main(model: str, port: int, how: str = "") -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"child {child.pid}", flush=True)
    if how == "dies":
        print("loading\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate", flush=True)
        sys.exit(3)
    if how == "silent":
        time.sleep(600)

    class Models(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/v1/models"
            body = json.dumps({"data": [{"id": model}]} if known else {}).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if how == "dies later":
                self.wfile.flush()
                sys.exit(4)

    HTTPServer(("127.0.0.1", port), Models).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
