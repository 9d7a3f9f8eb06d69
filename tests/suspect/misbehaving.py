"""An endpoint on loopback that answers like a tiny linear model, or in one of the ways in which a stranger may not.

Every way is one function of `WAYS`: it gets the request and the right answer, and sends what it likes.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

WEIGHTS = np.array([[1.0, -2.0, 0.5], [0.25, 1.0, -1.0], [-0.5, 0.75, 2.0], [1.5, -0.25, 0.125]])
SERVER = {"name": "misbehaving", "version": "1.0", "extensions": []}
MODEL = {"name": "m", "platform": "numpy", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]}


def logits(inputs) -> np.ndarray:
    """What the model answers when it is honest: (samples, 3)."""
    return np.asarray(inputs, dtype=np.float64) @ WEIGHTS


def output(values: np.ndarray, name: str = "y", datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(values.shape), "data": values.ravel().tolist()}


def body(*outputs: dict[str, Any]) -> dict[str, Any]:
    return {"model_name": "m", "outputs": list(outputs)}


@dataclass
class Misbehaving:
    """The endpoint, and what it has been asked. Use it as a context manager."""

    ways: list[str] = field(default_factory=lambda: ["good"])
    """How it answers its first request, its second, and so on; the last of them for all others."""
    server: dict[str, Any] = field(default_factory=lambda: dict(SERVER))
    model: dict[str, Any] | None = field(default_factory=lambda: dict(MODEL))
    batches: list[int] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of every request, those for metadata too."""
    over: threading.Event = field(default_factory=threading.Event)
    elsewhere: str = ""

    def __enter__(self) -> Misbehaving:
        self.http = Listener(("127.0.0.1", 0), handler(self))
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v2/models/m"


class Listener(ThreadingHTTPServer):
    """Says nothing of clients that hang up."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


class Request(BaseHTTPRequestHandler):
    """One exchange; the helpers below say something, rightly or wrongly."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    home: Misbehaving

    def log_message(self, *_: object) -> None:
        pass

    def say(self, content: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if kind:
            self.send_header("Content-Type", kind)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def tell(self, message: object, status: int = 200, **headers: str) -> None:
        self.say(json.dumps(message).encode(), status=status, **headers)

    def cut(self, content: bytes = b"") -> None:
        self.wfile.write(content)
        self.close_connection = True

    def do_GET(self) -> None:
        self.home.headers.append(dict(self.headers))
        if self.path == "/v2":
            self.tell(self.home.server)
        elif self.home.model is None:
            self.tell({"error": "unknown"}, 404)
        else:
            self.tell(self.home.model)

    def do_POST(self) -> None:
        self.home.headers.append(dict(self.headers))
        content = self.rfile.read(int(self.headers["Content-Length"]))
        asked = read(content, self.headers.get("Inference-Header-Content-Length"))
        self.home.batches.append(len(asked))
        way = self.home.ways[min(len(self.home.batches), len(self.home.ways)) - 1]
        try:
            WAYS[way](self, asked)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


def read(content: bytes, head: str | None) -> np.ndarray:
    """The inputs of a request, as JSON or in binary."""
    (tensor,) = json.loads(content[: int(head)] if head else content)["inputs"]
    flat = np.frombuffer(content[int(head) :], dtype=np.float32) if head else tensor["data"]
    if tensor["datatype"] == "BYTES":
        return np.asarray(flat).reshape(tensor["shape"])
    return np.asarray(flat, dtype=np.float64).reshape(tensor["shape"])


def handler(home: Misbehaving) -> type[Request]:
    return type("Handler", (Request,), {"home": home})


# --- ways of answering ------------------------------------------------------------------------------------------------

Way = Callable[[Request, np.ndarray], None]
WAYS: dict[str, Way] = {}


def way(function: Way) -> Way:
    WAYS[function.__name__] = function
    return function


def says(name: str, make: Callable[[np.ndarray], object]) -> None:
    """A way that is a JSON message made of the inputs."""
    WAYS[name] = lambda request, asked: request.tell(make(asked))


def writes(name: str, content: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> None:
    """A way that is always the same bytes."""
    WAYS[name] = lambda request, asked: request.say(content, kind, status, **headers)


says("good", lambda asked: body(output(logits(asked))))
says("nested", lambda asked: body(output(logits(asked)) | {"data": logits(asked).tolist()}))
says("labels", lambda asked: body(output(logits(asked).argmax(axis=1), datatype="INT64")))
says("names", lambda asked: body(output(logits(asked).argmax(axis=1).astype(str), datatype="BYTES")))
says("words", lambda asked: body(output(np.full(len(asked), "cat"), datatype="BYTES")))


@way
def top_two(request: Request, asked: np.ndarray) -> None:
    best = np.argsort(-logits(asked), axis=1)[:, :2]
    scores = np.take_along_axis(softmax(logits(asked)), best, axis=1)
    request.tell(body(output(best, "classes", "INT64"), output(scores, "scores")))


@way
def classification(request: Request, asked: np.ndarray) -> None:
    best = np.argsort(-logits(asked), axis=1)[:, :2]
    scores = np.take_along_axis(softmax(logits(asked)), best, axis=1)
    words = [[f"{s:.17g}:{c}" for s, c in zip(*row, strict=True)] for row in zip(scores, best, strict=True)]
    request.tell(body(output(np.array(words), datatype="BYTES")))


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@way
def binary(request: Request, asked: np.ndarray) -> None:
    raw = logits(asked).tobytes()
    said = output(logits(asked))
    del said["data"]
    head = json.dumps(body(said | {"parameters": {"binary_data_size": len(raw)}})).encode()
    request.say(head + raw, "application/octet-stream", Inference_Header_Content_Length=str(len(head)))


@way
def binary_cut(request: Request, asked: np.ndarray) -> None:
    said = output(logits(asked)) | {"parameters": {"binary_data_size": 8}}
    head = json.dumps(body(said)).encode()
    request.say(head + b"1234", "application/octet-stream", Inference_Header_Content_Length=str(len(head)))


@way
def binary_long_head(request: Request, asked: np.ndarray) -> None:
    request.say(b"{}", "application/octet-stream", Inference_Header_Content_Length="9" * 12)


# --- what is not an answer --------------------------------------------------------------------------------------------

says("no_outputs", lambda asked: body())
says("outputs_of_text", lambda asked: {"outputs": "many"})
says("outputs_that_are_numbers", lambda asked: {"outputs": [1, 2]})
says("a_list", lambda asked: [1, 2, 3])
says("an_error", lambda asked: {"error": "not today"})
says("false_shape", lambda asked: body(output(logits(asked)) | {"shape": [len(asked), 7]}))
says("text_for_shape", lambda asked: body(output(logits(asked)) | {"shape": "wide"}))
says("negative_shape", lambda asked: body(output(logits(asked)) | {"shape": [len(asked), -3]}))
says("huge_shape", lambda asked: body(output(logits(asked)) | {"shape": [len(asked), 10**30]}))
says("large_shape", lambda asked: body(output(logits(asked)) | {"shape": [len(asked), 2**39]}))
says("too_few", lambda asked: body(output(logits(asked)[:-1])))
says("too_many", lambda asked: body(output(logits(asked).repeat(2, axis=0))))
says("not_numbers", lambda asked: body(output(np.full((len(asked), 3), "high"))))
says("truths", lambda asked: body(output(logits(asked) > 0)))
says("nulls", lambda asked: body(output(logits(asked)) | {"data": [None] * 3 * len(asked)}))
says("nan", lambda asked: body(output(logits(asked) * np.nan)))
says("infinite", lambda asked: body(output(np.full((len(asked), 3), np.inf))))
says("too_large", lambda asked: body(output(logits(asked)) | {"data": [10**400] * 3 * len(asked)}))
says("large_labels", lambda asked: body(output(np.full(len(asked), 300), datatype="INT8")))
says("unknown_datatype", lambda asked: body(output(logits(asked), datatype="FP12")))
says("ragged", lambda asked: body(output(logits(asked)) | {"data": [[1, 2], *logits(asked).tolist()[1:]]}))
says("twice", lambda asked: body(output(logits(asked)), output(-logits(asked))))
says("nameless", lambda asked: body(output(logits(asked)) | {"name": None}))
says("many_outputs", lambda asked: body(*(output(logits(asked), str(at)) for at in range(100))))
says("wide_index", lambda asked: body(output(np.full((len(asked), 2), 10**9), "i", "INT64"), output(asked[:, :2])))

writes("html", b"<html><body>Sign in</body></html>", "text/html")
writes("typeless", b"{}", "")
writes("invalid", b'{"outputs": [')
writes("no_text", b"\xff\xfe{}")
writes("deep", b'{"outputs":' + b"[" * 50_000 + b"]" * 50_000 + b"}")
writes("deeper", b'{"outputs":' + b"[" * 1_000_000)
writes("same_key", b'{"outputs": [], "outputs": []}')
writes("long_number", b'{"outputs": ' + b"9" * 100_000 + b"}")
writes("empty", b"")
writes("error_500", b'{"error": "boom\\u001b[31m\\nsecond line"}', status=500)
writes("error_404", b"nothing here", "text/plain", 404)
writes("closed_door", b"", status=401)
writes("busy_for_ever", b"", status=503)
writes("squeezed", gzip.compress(bytes(10_000_000)), Content_Encoding="gzip")
writes("promises_more", b"{}", Content_Length="1000000")
writes("promises_too_much", b"{}", Content_Length="99999999999999")
writes("negative_length", b"{}", Content_Length="-5")


@way
def redirect(request: Request, asked: np.ndarray) -> None:
    request.say(b"", status=307, Location=f"{request.home.elsewhere}/v2/models/m/infer")


@way
def asks_for_a_pause(request: Request, asked: np.ndarray) -> None:
    request.say(b"", status=429, Retry_After="1")


@way
def asks_for_a_date(request: Request, asked: np.ndarray) -> None:
    request.say(b"", status=503, Retry_After=formatdate(usegmt=True))


@way
def asks_for_a_year(request: Request, asked: np.ndarray) -> None:
    request.say(b"", status=503, Retry_After="31536000")


@way
def one_at_a_time(request: Request, asked: np.ndarray) -> None:
    (WAYS["good"] if len(asked) == 1 else WAYS["too_long"])(request, asked)


@way
def eight_at_a_time(request: Request, asked: np.ndarray) -> None:
    (WAYS["good"] if len(asked) <= 8 else WAYS["error_500"])(request, asked)


writes("too_long", b'{"error": "batch-size must be <= 1"}', status=400)
writes("too_long_a_body", b"", status=413)


@way
def echo(request: Request, asked: np.ndarray) -> None:
    request.tell({"error": f"you said {request.headers['Authorization']}"}, 400)


@way
def echo_in_a_name(request: Request, asked: np.ndarray) -> None:
    request.tell(body(output(logits(asked)[:, :0], name=request.headers["Authorization"])))


# --- what does not end, or ends too early -----------------------------------------------------------------------------


def on_and_on(request: Request, piece: bytes, pause_s: float) -> None:
    while not request.home.over.wait(pause_s):
        request.wfile.write(piece)


@way
def slow(request: Request, asked: np.ndarray) -> None:
    request.home.over.wait(30)


@way
def streams(request: Request, asked: np.ndarray) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Connection", "close")
    request.end_headers()
    on_and_on(request, b" " * 65536, 0.0)


@way
def drips(request: Request, asked: np.ndarray) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Connection", "close")
    request.end_headers()
    on_and_on(request, b" ", 0.02)


@way
def drips_headers(request: Request, asked: np.ndarray) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    on_and_on(request, b"a", 0.02)


@way
def goes_on_with_headers(request: Request, asked: np.ndarray) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    on_and_on(request, b"X-Long: " + b"a" * 4000 + b"\r\n", 0.0)


@way
def continues(request: Request, asked: np.ndarray) -> None:
    on_and_on(request, b"HTTP/1.1 100 Continue\r\n\r\n", 0.01)


@way
def drips_an_error(request: Request, asked: np.ndarray) -> None:
    request.wfile.write(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n")
    on_and_on(request, b"a", 0.02)


@way
def closes(request: Request, asked: np.ndarray) -> None:
    request.cut()


@way
def closes_within(request: Request, asked: np.ndarray) -> None:
    request.cut(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"outputs": [{"na')


@way
def bad_chunks(request: Request, asked: np.ndarray) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    request.cut(head + b"zz\r\n{}\r\n")


@way
def not_http(request: Request, asked: np.ndarray) -> None:
    request.cut(b"SSH-2.0-OpenSSH_9.2\r\n")
