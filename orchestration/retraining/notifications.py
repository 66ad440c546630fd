"""Who hears of what happens when nobody is looking: failed runs, promoted and refused encoders.

LIKENESS_NOTIFY names the notifiers, several by commas:

    log                                   a line of JSON in <home>/notifications.log (the default)
    https://hooks.example/T0/B0           JSON by POST; `text` is what Slack, Mattermost and Teams show
    smtp://user@mail.example:587/?to=a@example&to=b@example
                                          mail; the password is LIKENESS_SMTP_PASSWORD; smtps:// for TLS from the start
    command:tell-us --urgent              JSON on its standard input
    studio.alerts:Pager                   a class of your own, made without arguments, with send(notice)
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shlex
import smtplib
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG

from orchestration.instance import RUN_TAG
from orchestration.promotion import production
from orchestration.retraining.recovery import is_lost, why_it_failed
from orchestration.settings import Settings

FAILED, PROMOTED, REFUSED = "run_failed", "promoted", "refused"
PATIENCE = 10.0  # seconds that a server or a command may take
NOTED_WITHIN = 10.0  # seconds


class BadNotifier(ValueError):
    """LIKENESS_NOTIFY names a notifier that does not exist."""


@dataclass(frozen=True)
class Notice:
    """What happened."""

    event: str
    """run_failed, promoted or refused."""
    title: str
    detail: str = ""
    assets: tuple[str, ...] = ()
    character: str = ""
    run_id: str = ""
    url: str = ""
    """The run's page, where LIKENESS_DAGSTER_URL says where pages are."""

    @property
    def text(self) -> str:
        """The whole notice as a person reads it."""
        return "\n".join(filter(None, (self.title, self.detail, self.url)))

    def as_json(self) -> str:
        return json.dumps({"text": self.text, **asdict(self), "time": datetime.now(UTC).isoformat(timespec="seconds")})


class Notifier(Protocol):
    """Tells somebody. What it raises is logged, and disturbs nothing."""

    def send(self, notice: Notice) -> None: ...


@dataclass(frozen=True)
class LogFile:
    path: Path

    def send(self, notice: Notice) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(notice.as_json() + "\n")


@dataclass(frozen=True)
class Webhook:
    url: str

    def send(self, notice: Notice) -> None:
        body, headers = notice.as_json().encode(), {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url, body, headers), timeout=PATIENCE):
            pass


@dataclass(frozen=True)
class Mail:
    url: str

    def send(self, notice: Notice) -> None:
        parts = urlsplit(self.url)
        query = parse_qs(parts.query)
        sender = query.get("from", [unquote(parts.username or "likeness")])[0]
        message = EmailMessage()
        message["Subject"] = notice.title
        message["From"] = sender if "@" in sender else f"{sender}@{parts.hostname}"
        message["To"] = ", ".join(query["to"])
        message.set_content(notice.text)
        password = os.environ.get("LIKENESS_SMTP_PASSWORD") or unquote(parts.password or "")
        where: dict[str, Any] = {"host": parts.hostname or "localhost", "port": parts.port or 0, "timeout": PATIENCE}
        trusted = ssl.create_default_context()
        tls = parts.scheme == "smtps"
        with smtplib.SMTP_SSL(**where, context=trusted) if tls else smtplib.SMTP(**where) as server:
            server.ehlo()
            if not tls and server.has_extn("starttls"):
                server.starttls(context=trusted)
            if password:
                server.login(unquote(parts.username or ""), password)
            server.send_message(message)


@dataclass(frozen=True)
class Command:
    words: tuple[str, ...]

    def send(self, notice: Notice) -> None:
        subprocess.run(self.words, input=notice.as_json(), text=True, timeout=PATIENCE, check=True, capture_output=True)


def notifiers(settings: Settings) -> list[Notifier]:
    """Those that the setting names. Raises BadNotifier."""
    return [_notifier(name.strip(), settings) for name in settings.notify.split(",") if name.strip()]


def _notifier(name: str, settings: Settings) -> Notifier:
    scheme = name.partition(":")[0]
    if name == "log":
        return LogFile(settings.home / "notifications.log")
    if scheme in ("http", "https"):
        return Webhook(name)
    if scheme in ("smtp", "smtps"):
        if not parse_qs(urlsplit(name).query).get("to"):
            raise BadNotifier(f"LIKENESS_NOTIFY: {name} says nobody to write to: add ?to=me@example.com")
        return Mail(name)
    if scheme == "command":
        return Command(tuple(shlex.split(name.partition(":")[2])))
    return _own(name)


def _own(name: str) -> Notifier:
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
        made.send  # noqa: B018
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BadNotifier(
            f"LIKENESS_NOTIFY: {name} is no notifier ({error}); write log, https://…, smtp://…?to=…, command:… or "
            "module:Class, several by commas"
        ) from error
    return made


def tell(settings: Settings, notice: Notice, log: logging.Logger) -> None:
    """Send to every notifier; one that fails keeps no other from hearing of it, and leaves a line in the log file."""
    for notifier in notifiers(settings):
        try:
            notifier.send(notice)
        except Exception as error:
            log.warning(f"{type(notifier).__name__} did not take the notice: {type(error).__name__}: {error}")
            try:
                LogFile(settings.home / "notifications.log").send(notice)
            except OSError as full:
                log.warning(f"nor did the log file: {full}")


def sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """One sensor for failed runs, one for what the gate said. Raises BadNotifier."""
    notifiers(settings)
    return [failures(settings), verdicts(settings)]


def failures(settings: Settings) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=min(30, settings.look_seconds),
        description="Tells LIKENESS_NOTIFY of every failed run that is not tried again.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run = context.dagster_run
        if is_tried_again(context.instance, run.run_id):
            return dg.SkipReason(f"run {run.run_id[:8]} is tried again")
        events = context.get_step_failure_events()
        detail = why_it_failed(events[0]) if events else context.failure_event.message or "it said no more"
        tell(settings, failure(settings, run, detail), context.log)
        return None

    return sensor


def is_tried_again(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Dagster records a failure first, and a moment later whether the run is tried again: that moment is waited for."""
    deadline = time.monotonic() + NOTED_WITHIN
    while run := instance.get_run_by_id(run_id):
        noted = run.tags.get(WILL_RETRY_TAG)
        if noted is not None or not instance.run_retries_enabled or time.monotonic() > deadline:
            return noted == "true" or is_lost(instance, run)
        time.sleep(0.1)
    return False


def failure(settings: Settings, run: dg.DagsterRun, detail: str) -> Notice:
    assets = tuple(sorted(key.to_user_string() for key in run.asset_selection or ()))
    character = run.tags.get("dagster/partition", "")
    what = ", ".join(assets) or run.job_name
    return Notice(
        FAILED,
        f"likeness: {what}{f' of {character}' if character else ''} failed",
        detail,
        assets,
        character,
        run.run_id,
        page(settings, run.run_id),
    )


def verdicts(settings: Settings) -> dg.SensorDefinition:
    @dg.asset_sensor(
        asset_key=dg.AssetKey(production.NAME),
        name="verdicts",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=min(30, settings.look_seconds),
        description="Tells LIKENESS_NOTIFY which retrained encoders went into production, and which were refused why.",
    )
    def sensor(context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry) -> dg.SkipReason:
        run = context.instance.get_run_by_id(asset_event.run_id)
        made = asset_event.asset_materialization
        if made is None or run is None or RUN_TAG in run.tags:
            return dg.SkipReason("made at a terminal, which said it")
        notice = verdict(settings, made, run.run_id)
        tell(settings, notice, context.log)
        return dg.SkipReason(notice.title)

    return sensor


def verdict(settings: Settings, made: dg.AssetMaterialization, run_id: str) -> Notice:
    known: dict[str, Any] = {name: value.value for name, value in made.metadata.items()}
    name, reasons = f"{known.get('model')} version {known.get('version')}", known.get("refused_because") or []
    promoted = bool(known.get("in_production"))
    return Notice(
        PROMOTED if promoted else REFUSED,
        f"likeness: {name} {'is in production' if promoted else 'was not promoted'}",
        "; ".join(reasons) if isinstance(reasons, Sequence) and not isinstance(reasons, str) else str(reasons),
        (production.NAME,),
        made.partition or "",
        run_id,
        page(settings, run_id),
    )


def page(settings: Settings, run_id: str) -> str:
    return f"{settings.dagster_url.rstrip('/')}/runs/{run_id}" if settings.dagster_url else ""
