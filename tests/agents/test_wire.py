"""Connections that are kept: closing ends them for good, whoever is still asking."""

from __future__ import annotations

import gc
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sdar_agents.backends.base import BackendError
from sdar_agents.backends.wire import JsonClient


class Slow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(0.01)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what is tested."""


def test_a_closed_client_leaves_no_socket_open_whoever_is_still_asking() -> None:
    server = QuietServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    outcomes: list[type[Exception] | None] = []

    def ask(client: JsonClient) -> None:
        for _ in range(10):
            try:
                client.get("/x")
                outcomes.append(None)
            except BackendError as error:
                outcomes.append(type(error))

    for _ in range(5):
        client = JsonClient(f"http://127.0.0.1:{server.server_port}", timeout_seconds=5)
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.03)
        client.close()
        for thread in threads:
            thread.join()
        with pytest.raises(BackendError, match="closed"):
            client.get("/x")
        assert not any(connection.sock for connection in client._open)
        del client, threads
        # A socket that nobody closed says so here, and warnings are errors.
        gc.collect()
    server.shutdown()
    server.server_close()
    assert None in outcomes
    assert BackendError in outcomes
