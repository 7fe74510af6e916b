"""A judge on this machine: a real OpenAI-compatible endpoint whose judgements are a function of what it is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = str | tuple[int, dict[str, Any]] | tuple[int, dict[str, Any], dict[str, str]]
"""A text, or a status with a body (and headers)."""


@dataclass
class LocalJudge:
    """Answers with what ``say`` makes of the request's messages.

    Attributes:
        asked: all requests that came, as they were sent.
        keys: what they carried for a key.
    """

    say: Callable[[list[dict[str, str]]], Answer]
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    @property
    def prompts(self) -> list[str]:
        return [request["messages"][0]["content"] for request in self.asked]


@contextmanager
def serving(judge: LocalJudge) -> Iterator[LocalJudge]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            judge.asked.append(request)
            judge.keys.append(self.headers.get("Authorization"))
            made = judge.say(request["messages"])
            status, body, *more = (200, completion(made)) if isinstance(made, str) else made
            if self.path != "/v1/chat/completions":
                status, body = 404, {"error": {"message": f"no route {self.path}"}}
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(more[0] if more else {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing: what was asked is in ``asked``."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that has heard enough closes its other connections."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: str, finish: str = "stop") -> dict[str, Any]:
    """A chat completion as OpenAI's servers write it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"object": "chat.completion", "model": "local", "choices": [choice]}
