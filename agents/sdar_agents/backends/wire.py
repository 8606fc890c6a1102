"""JSON over HTTP to engines in other processes: connections that are kept, requests in flight, errors with the fix."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from sdar_agents.backends.base import BackendError, Finished
from sdar_agents.episode import Completion

LONGEST_STEP_SECONDS = 1.0


class UnreachableError(BackendError):
    """Nobody answers at the address."""


class RefusedError(BackendError):
    """The server answered with an error.

    Attributes:
        status: Of HTTP.
        reason: The server's own words.
        retry_after: Seconds that the server asks to wait; None if it does not say.
    """

    def __init__(self, where: str, reason: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"{where} answers {status}: {reason}")
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class JsonClient:
    """A server that speaks JSON; may be used from many threads, each keeps a connection of its own."""

    def __init__(self, base_url: str, *, timeout_seconds: float, api_key: str | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BackendError(f"base_url={base_url} is not an address: write such as http://localhost:8000")
        self.base_url = base_url.rstrip("/")
        self.timeout_seconds = timeout_seconds
        self._parts = parts
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._local = threading.local()
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def get(self, path: str) -> Any:
        """What the server answers to GET.

        Raises:
            BackendError: it cannot be reached, or answers with an error (`RefusedError`).
        """
        return self._send("GET", path, None)

    def post(self, path: str, body: Any = None) -> Any:
        """What the server answers to POST; None where the answer is empty.

        Raises:
            BackendError: it cannot be reached, or answers with an error (`RefusedError`).
        """
        return self._send("POST", path, body)

    def close(self) -> None:
        """End every connection, for good; whoever waits for an answer gets an error."""
        with self._lock:
            connections, self._open, self._is_closed = self._open, set(), True
        for connection in connections:
            if connection.sock is not None:
                # Only this wakes a thread that is reading.
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _send(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if kept is not None and kept in self._open:
            # Servers close connections that idle; the request itself is fine, so it goes over a new one.
            with contextlib.suppress(http.client.HTTPException, ConnectionError):
                return self._exchange(kept, method, path, data)
            self._drop(kept)
        connection = self._connect()
        try:
            return self._exchange(connection, method, path, data)
        except TimeoutError as error:
            self._drop(connection)
            raise BackendError(
                f"{self.base_url}{path} did not answer within {self.timeout_seconds:g} s: raise timeout_seconds, or "
                "lower concurrency or the length of responses"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            self._drop(connection)
            raise UnreachableError(
                f"no answer from {self.base_url} ({type(error).__name__}: {error}): is the server running, and is "
                "--backend-options base_url=... its address?"
            ) from error

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(self._parts.hostname), self._parts.port, timeout=self.timeout_seconds)
        self._local.connection = connection
        with self._lock:
            # A call that was forgotten may come here late.
            if self._is_closed:
                raise BackendError(f"the connection to {self.base_url} is closed")
            self._open.add(connection)
        return connection

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        connection.close()
        with self._lock:
            self._open.discard(connection)

    def _exchange(self, connection: http.client.HTTPConnection, method: str, path: str, data: bytes | None) -> Any:
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, body=data, headers=self._headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", errors="replace")
        finally:
            # `request` opens a connection again that `close` has just ended in another thread.
            if connection not in self._open:
                connection.close()
        if response.status >= 400:
            raise RefusedError(
                self.base_url + path,
                _message(text),
                status=response.status,
                retry_after=_seconds(response.headers.get("Retry-After")),
            )
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError:
            # Such as "Success: LoRA adapter ... added".
            return text


class InFlight:
    """Calls that wait for answers, each in a thread of its own."""

    def __init__(self, concurrency: int) -> None:
        if concurrency < 1:
            raise BackendError(f"concurrency={concurrency}: must be at least 1")
        self._concurrency = concurrency
        self._count = 0
        self._start()

    def submit(self, number: int, call: Callable[[], Completion]) -> None:
        """Begin a call; `number` names it."""
        self._count += 1
        self._executor.submit(self._run, self._arrived, number, call)

    def __len__(self) -> int:
        """Calls under way."""
        return self._count

    def wait(self, seconds: float = LONGEST_STEP_SECONDS) -> list[Finished]:
        """What has arrived; if nothing has, wait for the next, at most so long.

        Raises:
            Exception: as a call raised it; all other calls are forgotten then.
        """
        if self._count == 0:
            return []
        finished: list[Finished] = []
        try:
            finished.append(self._take(seconds))
            while True:
                finished.append(self._take(0.0))
        except queue.Empty:
            return finished

    def close(self) -> None:
        """Forget every call."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._count = 0

    def _take(self, seconds: float) -> Finished:
        number, result = self._arrived.get(timeout=seconds) if seconds > 0 else self._arrived.get_nowait()
        self._count -= 1
        if isinstance(result, Completion):
            return Finished(number, result)
        self.close()
        self._start()
        raise result

    def _start(self) -> None:
        self._executor = ThreadPoolExecutor(self._concurrency, thread_name_prefix="engine-request")
        self._arrived: queue.SimpleQueue[tuple[int, Completion | Exception]] = queue.SimpleQueue()

    @staticmethod
    def _run(
        arrived: queue.SimpleQueue[tuple[int, Completion | Exception]], number: int, call: Callable[[], Completion]
    ) -> None:
        try:
            arrived.put((number, call()))
        except Exception as error:
            arrived.put((number, error))


def _message(text: str) -> str:
    """The sentence inside an error of any OpenAI-like server."""
    try:
        body = json.loads(text)
    except ValueError:
        return text.strip()[:500] or "(no text)"
    inner = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
    return str(inner.get("message", inner) if isinstance(inner, dict) else inner)[:500]


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError:
        return None
