"""A web server on this machine, for tests of what torchvision downloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOBODY = "http://127.0.0.1:9/"  # nothing listens on the discard port


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, files: dict[str, bytes], cut: bool, *args):
        self.files, self.cut = files, cut
        super().__init__(*args)

    def do_GET(self):
        body = self.files[self.path.strip("/")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if self.cut else body)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@contextmanager
def serving(files: dict[str, bytes], cut: bool = False) -> Iterator[str]:
    """The address of a server with these files; with `cut`, it breaks off in the middle of each."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, files, cut))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
