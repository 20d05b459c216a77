"""A small server on loopback that speaks OpenAI's protocol, well or badly."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass
class Reply:
    """What the peer sends. With `cut` it promises more bytes than it sends."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0
    cut: bool = False


def error(status: int, message: str = "no", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(json.dumps({"error": {"message": message}}).encode(), status, named)


def ids_of(body: Body) -> list[int]:
    """The peer's answer to a prompt: two tokens at most, known from the prompt."""
    return [body["prompt"][0] + 100, 7][: body["max_tokens"]]


def completion(body: Body, shift: float = 0) -> Body:
    """An answer in vLLM's dialect. The first token is the one at rank 2, the second is outside the top k."""
    k, tokens = body["logprobs"], ids_of(body)
    ranks = {tokens[0] + 1: -0.5, tokens[0]: -1.0} | {1000 + rank: -2.0 - rank / 8 + shift for rank in range(k - 2)}
    first = {tokens[0]: -1.0} | {id: value for id, value in list(ranks.items())[:k] if id != tokens[0]}
    second = {7: -30.0} | {2000 + rank: -1.0 - rank / 8 for rank in range(k)}
    rows = [first, second][: len(tokens)]
    logprobs = {
        "tokens": [f"token_id:{id}" for id in tokens],
        "token_logprobs": [-1.0, -30.0][: len(tokens)],
        "top_logprobs": [{f"token_id:{id}": value for id, value in row.items()} for row in rows],
    }
    choice = {"text": "a b", "logprobs": logprobs, "token_ids": tokens, "prompt_token_ids": body["prompt"]}
    return {"choices": [{**choice, "finish_reason": "length"}], "usage": {"completion_tokens": len(tokens)}}


def well_behaved(path: str, body: Body) -> Reply:
    if path == "/v1/models":
        return Reply(json.dumps({"data": [{"id": "tiny"}]}).encode())
    if path == "/v1/completions":
        return Reply(json.dumps(completion(body)).encode())
    return error(404, "no such path")


def text_only(path: str, body: Body) -> Reply:
    """An endpoint that knows conversations and nothing else."""
    if path == "/v1/chat/completions":
        message = {"role": "assistant", "content": "you said " + body["messages"][-1]["content"]}
        return Reply(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode())
    return well_behaved(path, body) if path == "/v1/models" else error(404, "no such path")


class Peer:
    """A running server; `seen` holds what it was asked, probes left out."""

    def __init__(self, behave: Callable[[str, Body], Reply], port: int = 0):
        self.seen: list[Body] = []
        self.most_at_once = 0
        self.stopped = False
        self._lock, self._at_once = threading.Lock(), 0
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(behave(self.path, {}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with peer.counted():
                    if body.get("max_tokens") != 1:
                        peer.seen.append({**body, "headers": dict(self.headers)})
                    self.reply(behave(self.path, body))

            def reply(self, reply: Reply) -> None:
                time.sleep(reply.delay_s)
                if peer.stopped:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body) + 10 * reply.cut))
                self.end_headers()
                self.wfile.write(reply.body)
                self.close_connection = self.close_connection or reply.cut

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that has gone away

        self._server = Quiet(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def stop(self) -> None:
        """Like a process that is killed: open connections break off."""
        self.stopped = True
        self._server.shutdown()
        self._server.server_close()
