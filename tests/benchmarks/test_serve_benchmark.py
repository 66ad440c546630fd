"""The service's benchmark: what clients count, and the documented document."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from benchmarks import serve
from benchmarks.load import BOUNDARY, Load, Request, Sample, attack, multipart, quantile, summary


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """It takes 20 ms for an answer, and refuses every body that says so."""
    asked: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(body)
            threading.Event().wait(0.02)
            self.send_response(429 if b"refuse" in body else 201)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = asked  # type: ignore[attr-defined]
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_clients_count_every_answer_and_finish_what_they_sent(server: ThreadingHTTPServer) -> None:
    request = Request("/", {}, (b"one", b"two", b"refuse"), 201)
    load = attack(server.server_port, request, clients=4, seconds=2.0)
    asked = server.asked  # type: ignore[attr-defined]
    assert len(load.samples) == len(asked) and set(asked) == {b"one", b"two", b"refuse"}
    assert all(sample.begun < 2.0 and sample.seconds >= 0.02 for sample in load.samples)
    counted = summary(load, 201)
    assert counted["errors"] == {"429": asked.count(b"refuse")}
    assert counted["answers"] == len(asked) - asked.count(b"refuse")
    assert 0 < load.cpu_seconds < 5


def test_a_server_that_is_not_there_is_an_error_without_an_answer() -> None:
    load = attack(serve._free_port(), Request("/", {}, (b"one",), 201), clients=1, seconds=0.3)
    counted = summary(load, 201)
    assert counted["answers"] == 0 and counted["p99"] is None and list(counted["errors"]) == ["no answer"]


def test_rates_and_quantiles_are_those_of_the_good_answers() -> None:
    samples = [Sample(0.01 * number, 0.001 * (number + 1), 201) for number in range(100)]
    counted = summary(Load((*samples, Sample(0.5, 9.5, 503)), 0.1), 201)
    assert counted["photos_per_second"] == pytest.approx(10.0)
    assert (counted["p50"], counted["p99"], counted["slowest"]) == pytest.approx((0.050, 0.099, 0.100))
    assert counted["errors"] == {"503": 1}


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)])
def test_a_quantile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert quantile([1, 2, 3, 4], share) == value
    assert quantile([], share) is None


def test_a_form_is_one_that_the_service_reads() -> None:
    from starlette.requests import Request as Asked
    from starlette.testclient import TestClient

    async def app(scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import JSONResponse

        form = await Asked(scope, receive).form()
        photo = form["photo"]
        assert not isinstance(photo, str)
        said = {"aligned": form["aligned"], "photo": list(await photo.read())}
        await JSONResponse(said)(scope, receive, send)

    (body,) = multipart([b"\xff\xd8\r\n--\x00"], aligned=True)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = TestClient(app).post("/", content=body, headers=headers).json()
    assert answer == {"aligned": "true", "photo": list(b"\xff\xd8\r\n--\x00")}


def _row(clients: int, rate: float, p99: float, errors: dict[str, int]) -> dict[str, Any]:
    row = {"clients": clients, "photos_per_second": rate, "answers": 100, "seconds": 4.0, "p50": p99 / 2, "p99": p99}
    cores = {"server_cores": 1.8, "client_cores": 0.1, "of_floor": 0.9, "cpu_photos_per_second": rate}
    return row | {"slowest": p99, "errors": errors} | cores


def _document(rows: list[dict[str, Any]], cores: int = 2) -> dict[str, Any]:
    least = {"decode": 4.0, "find": 11.0, "read": 35.0, "milliseconds": 50.0, "photos_per_second": 40.0}
    document = {
        "machine": {"processor": "a processor", "cores": cores, "load_before": 1.0},
        "model": {"name": "likeness-embedded", "version": 3, "photos": 7},
        "floor": least,
        "service": rows,
        "plain": rows[:1],
    }
    return document | {"targets": serve.targets(document)}


def test_targets_are_judged_where_they_were_measured() -> None:
    good = [_row(8, 26.0, 0.4, {}), _row(64, 27.0, 3.0, {})]
    bad = [_row(8, 24.0, 0.6, {}), _row(64, 27.0, 3.0, {"429": 2})]
    assert [target["reached"] for target in _document(good)["targets"]] == [True, True, True]
    assert [target["reached"] for target in _document(bad)["targets"]] == [False, False, False]
    assert [target["reached"] for target in _document(good, cores=1)["targets"]] == [None, None, None]
    assert [target["value"] for target in _document([_row(1, 9.0, 0.1, {})])["targets"]] == [None, None, None]


def test_the_document_is_as_described_and_is_shown_with_every_row() -> None:
    described = re.search(r"The document:\n\n(.*)", serve.__doc__ or "", re.DOTALL)
    assert described is not None
    document = _document([_row(8, 26.0, 0.4, {}), _row(64, 27.0, 3.0, {"429": 2})])
    assert list(document) == re.findall(r"^ {4}([a-z]+) ", described[1], re.MULTILINE)
    json.dumps(document)
    screen = StringIO()
    serve.show(document, Console(file=screen, width=120))
    shown = screen.getvalue()
    assert "likeness serve" in shown and "mlflow models serve" in shown
    assert "2 × 429" in shown and "3000 ms" in shown and "other programs were running" in shown
