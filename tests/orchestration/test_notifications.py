"""Who is told, over real sockets, and what happens when nobody takes the call."""

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from mlflow import MlflowClient

from orchestration.config.settings import Settings
from orchestration.pipeline import notifications
from orchestration.promotion.notifiers import BadNotifier, Notice, tell
from orchestration.registry.aliases import AliasStore
from orchestration.storage.instance import RUN_TAG

LOG = logging.getLogger("test")
NOTICE = Notice(
    "run_failed",
    "likeness: encoder of embedded failed",
    "ValueError: loss is not finite",
    ("encoder",),
    "embedded",
    "1234",
    "http://dagster.example/runs/1234",
)


class Web(HTTPServer):
    """Keeps what was posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.posted: list[dict[str, Any]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Hook(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Post:
    """As much of SMTP as a mail needs."""

    def __init__(self) -> None:
        self.envelopes: list[str] = []
        self.mails: list[str] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.split(":")[0].split()[0].upper()
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            elif verb in ("MAIL", "RCPT"):
                self.envelopes.append(line)
            writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 fine\r\n")
            if verb == "QUIT":
                break
        await writer.drain()
        writer.close()


@pytest.fixture
def post() -> Iterator[Post]:
    office, loop, ready = Post(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(office.answer, "127.0.0.1", 0)
        office.port = server.sockets[0].getsockname()[1]
        ready.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    yield office
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class Pager:
    """A notifier of somebody's own."""

    told: list[Notice] = []  # noqa: RUF012

    def send(self, notice: Notice) -> None:
        self.told.append(notice)


def set_to(tmp_path: Path, notify: str, **more: Any) -> Settings:
    return Settings(root=tmp_path, notify=notify, **more)


def logged(settings: Settings) -> list[dict[str, Any]]:
    path = settings.home / "notifications.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_by_default_a_notice_is_a_line_of_the_log_file(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    tell(settings, NOTICE, LOG)
    (line,) = logged(settings)
    assert line["event"] == "run_failed" and line["character"] == "embedded" and line["assets"] == ["encoder"]
    assert line["text"].splitlines() == [NOTICE.title, NOTICE.detail, NOTICE.url]


def test_a_webhook_gets_json_that_chat_servers_show(tmp_path: Path, web: Web) -> None:
    tell(set_to(tmp_path, web.url), NOTICE, LOG)
    (posted,) = web.posted
    assert posted["text"] == NOTICE.text and posted["run_id"] == "1234"


def test_any_service_that_apprise_knows_is_told(tmp_path: Path, web: Web) -> None:
    tell(set_to(tmp_path, web.url.replace("http", "json", 1)), NOTICE, LOG)
    (posted,) = web.posted
    assert posted["title"] == NOTICE.title and posted["type"] == "failure"
    assert posted["message"].splitlines() == [NOTICE.detail, NOTICE.url]


def test_a_service_that_refuses_is_logged_without_the_secrets_of_its_address(
    tmp_path: Path, web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    web.status = 403
    settings = set_to(tmp_path, web.url.replace("http://", "json://somebody:secret@", 1))
    tell(settings, NOTICE, LOG)
    assert len(web.posted) == 1 and len(logged(settings)) == 1
    assert "AppriseService did not take the notice: NotSent: " in caplog.text and "403" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("notify", ["smtp://somebody:secret@mail.example", "slack://secret", "nowhere://a:secret@b"])
def test_an_address_that_cannot_be_used_is_refused_without_showing_its_secrets(
    tmp_path: Path, notify: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BadNotifier) as refused:
        notifications.sensors(set_to(tmp_path, notify))
    assert notify.partition(":")[0] in str(refused.value)
    assert "secret" not in str(refused.value) + caplog.text


def test_a_mail_goes_to_everybody_named(tmp_path: Path, post: Post) -> None:
    url = f"smtp://pipeline@127.0.0.1:{post.port}/?to=a@example.com&to=b@example.com"
    tell(set_to(tmp_path, url), NOTICE, LOG)
    (mail,) = post.mails
    assert f"Subject: {NOTICE.title}" in mail and NOTICE.detail in mail
    assert [line.split("<")[1].split(">")[0] for line in post.envelopes[1:]] == ["a@example.com", "b@example.com"]


def test_a_command_gets_the_notice_on_its_standard_input(tmp_path: Path) -> None:
    tell(set_to(tmp_path, f"command:tee {tmp_path}/told.json"), NOTICE, LOG)
    assert json.loads((tmp_path / "told.json").read_text())["title"] == NOTICE.title


def test_a_class_of_ones_own_is_told(tmp_path: Path) -> None:
    Pager.told.clear()
    sys.modules["pager_for_test"] = sys.modules[__name__]
    tell(set_to(tmp_path, "pager_for_test:Pager"), NOTICE, LOG)
    assert Pager.told == [NOTICE]


def test_one_that_is_down_keeps_no_other_from_hearing_and_leaves_the_notice_in_the_log(
    tmp_path: Path, web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    web.status = 500
    settings = set_to(
        tmp_path, f"http://127.0.0.1:9/nobody, {web.url}, command:false, command:tee {tmp_path}/told.json"
    )
    tell(settings, NOTICE, LOG)
    assert len(web.posted) == 1 and (tmp_path / "told.json").exists()
    assert len(logged(settings)) == 3
    assert "Webhook did not take the notice" in caplog.text


@pytest.mark.parametrize(
    ("notify", "message"),
    [("smtp://mail.example", "says nobody to write to"), ("carrier-pigeon", "is no notifier"), ("json:loads", "is no")],
)
def test_a_notifier_that_does_not_exist_is_named(tmp_path: Path, notify: str, message: str) -> None:
    with pytest.raises(BadNotifier, match=message):
        notifications.sensors(set_to(tmp_path, notify))


def test_a_run_that_is_tried_again_tells_nobody_and_the_last_one_does(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, dagster_url="http://dagster.example/")
    sensor = notifications.failures(settings)

    @dg.op
    def breaks() -> None:
        raise OSError("outer") from ValueError("loss is not finite")

    @dg.job
    def job() -> None:
        breaks()

    instance = dg.DagsterInstance.ephemeral()
    for tags in ({"dagster/will_retry": "true"}, {"dagster/partition": "embedded"}):
        result = job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
        context = dg.build_run_status_sensor_context(
            sensor_name="failures",
            dagster_event=result.get_run_failure_event(),
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()
        sensor(context)
    (line,) = logged(settings)
    assert line["character"] == "embedded"
    assert line["detail"] == "ValueError: loss is not finite"
    assert line["url"] == f"http://dagster.example/runs/{line['run_id']}"


def test_a_move_past_likeness_is_told_once(settings: Settings) -> None:
    client, name = MlflowClient(settings.tracking_uri, settings.tracking_uri), "likeness-embedded"
    client.create_registered_model(name)
    for number in ("1", "2"):
        client.create_model_version(name, f"file:///{number}")
        AliasStore.of(settings, "embedded").promote(number, "anna", "")
    sensor, cursor = notifications.moved_outside(settings), None
    for alias in ("2", "1", "1"):
        client.set_registered_model_alias(name, "production", alias)
        context = dg.build_sensor_context(cursor=cursor)
        sensor(context)
        cursor = context.cursor
    (line,) = logged(settings)
    assert (line["event"], line["character"]) == ("moved_outside", "embedded")
    assert "production was set to version 1 in MLflow itself, some time after anna promoted version 2" in line["detail"]


def test_every_verdict_between_two_ticks_is_told_once_but_those_of_a_terminal(tmp_path: Path) -> None:
    settings, instance = Settings(root=tmp_path), dg.DagsterInstance.ephemeral()

    @dg.asset(name="production_encoder", partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c", "d"]))
    def register() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"model": "likeness", "version": 1, "in_production": True})

    def registered(character: str, **tags: str) -> None:
        dg.materialize([register], partition_key=character, instance=instance, tags=tags)

    sensor, context = notifications.gate_decisions(settings), dg.build_sensor_context(instance)
    registered("a")
    sensor(context)
    for character in ("b", "c"):
        registered(character)
    registered("d", **{RUN_TAG: "true"})
    for _ in range(2):
        context = dg.build_sensor_context(instance, cursor=context.cursor)
        sensor(context)
    assert [line["character"] for line in logged(settings)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("in_production", "event", "title"),
    [
        (True, "promoted", "likeness: likeness-embedded version 4 is in production"),
        (False, "refused", "likeness: likeness-embedded version 4 was not promoted"),
    ],
)
def test_what_the_gate_said_is_told(tmp_path: Path, in_production: bool, event: str, title: str) -> None:
    reasons = [] if in_production else ["recovery.visible 0.1 is worse"]
    made = dg.AssetMaterialization(
        "production_encoder",
        partition="embedded",
        metadata={
            "model": "likeness-embedded",
            "version": 4,
            "in_production": in_production,
            "refused_because": reasons,
        },
    )
    notice = notifications.gate_notice(Settings(root=tmp_path), made, "1234")
    assert (notice.event, notice.title, notice.character) == (event, title, "embedded")
    assert notice.detail == "; ".join(reasons)
