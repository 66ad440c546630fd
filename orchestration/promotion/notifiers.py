"""Who hears of what happens when nobody is looking: failed runs, refused encoders, and every move of `production`.

LIKENESS_NOTIFY names the notifiers, several by commas:

    log                                   a line of JSON in <home>/notifications.log (the default)
    https://hooks.example/T0/B0           JSON by POST; `text` is what Slack, Mattermost and Teams show
    smtp://user@mail.example:587/?to=a@example&to=b@example
                                          mail; the password is LIKENESS_SMTP_PASSWORD; smtps:// for TLS from the start
    slack://… msteams://… tgram://…       any service that Apprise knows, by its address there
    command:tell-us --urgent              JSON on its standard input
    studio.alerts:Pager                   a class of your own, made without arguments, with send(notice)

This module does not need Dagster: importing it takes longer than a rollback may.
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
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from engine.errors import LikenessError
from orchestration.config.addresses import mlflow_page, model_page
from orchestration.config.settings import Settings
from orchestration.registry.promotion_events import ROLLBACK, PromotionEvent

FAILED, PROMOTED, REFUSED, ROLLED_BACK, MOVED = "run_failed", "promoted", "refused", "rolled_back", "moved_outside"
WAITING = "waits_for_approval"
KINDS = {FAILED: "failure", PROMOTED: "success"} | dict.fromkeys((REFUSED, ROLLED_BACK, MOVED, WAITING), "warning")
"""How Apprise colours them."""
TIMEOUT = 10.0  # seconds that a server or a command may take


class BadNotifier(LikenessError, ValueError):
    """LIKENESS_NOTIFY names a notifier that does not exist."""


class NotSent(LikenessError):
    """A service did not take the notice."""


@dataclass(frozen=True)
class Notice:
    """What happened."""

    event: str
    """run_failed, promoted, refused, rolled_back, moved_outside or waits_for_approval."""
    title: str
    detail: str = ""
    assets: tuple[str, ...] = ()
    character: str = ""
    run_id: str = ""
    url: str = ""
    """The run's page, where LIKENESS_DAGSTER_URL says where pages are; the model's, where somebody moved it by hand."""

    @property
    def text(self) -> str:
        """The whole notice as a person reads it."""
        return "\n".join(filter(None, (self.title, self.detail, self.url)))

    def as_json(self) -> str:
        """The notice for machines: its fields, its whole text and the time, as one line."""
        return json.dumps({"text": self.text, **asdict(self), "time": datetime.now(UTC).isoformat(timespec="seconds")})


def of_move(settings: Settings, model: str, move: PromotionEvent) -> Notice:
    """What somebody did by hand at a terminal."""
    version = str(move.after)
    done = "is back in production" if move.kind == ROLLBACK else "was promoted by hand"
    return Notice(
        ROLLED_BACK if move.kind == ROLLBACK else PROMOTED,
        f"likeness: {model} version {version} {done}",
        f"{move}" + (", whatever the gate said" if move.forced else ""),
        ("production_encoder",),
        model.removeprefix("likeness-"),
        url=model_page(mlflow_page(settings), model, version),
    )


def of_approval(settings: Settings, model: str, version: str, approved: Sequence[str], waits: int) -> Notice:
    """That a promotion waits for other people."""
    return Notice(
        WAITING,
        f"likeness: {model} version {version} waits for {waits} more to approve of it",
        f"{', '.join(approved)} approved; likeness promote {version}",
        ("production_encoder",),
        model.removeprefix("likeness-"),
        url=model_page(mlflow_page(settings), model, version),
    )


class Notifier(Protocol):
    """Tells somebody. What it raises is logged, and disturbs nothing."""

    def send(self, notice: Notice) -> None:
        """Tell somebody; any exception means that nobody was told."""


@dataclass(frozen=True)
class LogFile:
    """A line of JSON at the end of a file."""

    path: Path

    def send(self, notice: Notice) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(notice.as_json() + "\n")


@dataclass(frozen=True)
class Webhook:
    """JSON by POST. Apprise's own JSON has other fields, and no lists; users' receivers read ours."""

    url: str = field(repr=False)

    def send(self, notice: Notice) -> None:
        body, headers = notice.as_json().encode(), {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url, body, headers), timeout=TIMEOUT):
            pass


@dataclass(frozen=True)
class Mail:
    """One mail to everybody. Apprise's needs to be told whether the server has STARTTLS, and takes no IP addresses."""

    url: str = field(repr=False)

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
        where: dict[str, Any] = {"host": parts.hostname or "localhost", "port": parts.port or 0, "timeout": TIMEOUT}
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
    """A program that gets the notice as JSON on its standard input."""

    words: tuple[str, ...]

    def send(self, notice: Notice) -> None:
        subprocess.run(self.words, input=notice.as_json(), text=True, timeout=TIMEOUT, check=True, capture_output=True)


@dataclass(frozen=True)
class AppriseService:
    """One of the services that Apprise knows, by its address there."""

    url: str = field(repr=False)

    def send(self, notice: Notice) -> None:
        import apprise

        body, sender = "\n".join(filter(None, (notice.detail, notice.url))) or notice.title, self.open()
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:
            if not sender.notify(body, notice.title, KINDS.get(notice.event, "info")):
                raise NotSent(" ".join(log.getvalue().split()))  # pyright: ignore[reportAttributeAccessIssue]

    def open(self) -> Any:
        """Apprise with this address. Raises BadNotifier where it knows no such service, or the address lacks a part."""
        import apprise

        # It would log the address that it cannot use, with what is secret in it.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        sender = apprise.Apprise()
        if not sender.add(self.url):
            raise BadNotifier(
                f"LIKENESS_NOTIFY: {without_secrets(self.url)} is no address of a service that Apprise knows: "
                "see https://appriseit.com/services"
            )
        return sender


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
            raise BadNotifier(
                f"LIKENESS_NOTIFY: {without_secrets(name)} says nobody to write to: add ?to=me@example.com"
            )
        return Mail(name)
    if scheme == "command":
        return Command(tuple(shlex.split(name.partition(":")[2])))
    if "://" in name:
        service = AppriseService(name)
        service.open()
        return service
    return _own(name)


def without_secrets(address: str) -> str:
    """An address without what may be a password or a token: all but its scheme."""
    scheme, mark, _ = address.partition("://")
    return f"{scheme}://…" if mark else address


def _own(name: str) -> Notifier:
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
        made.send  # noqa: B018
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BadNotifier(
            f"LIKENESS_NOTIFY: {name} is no notifier ({error}); write log, https://…, smtp://…?to=…, command:…, "
            "an address of Apprise's (slack://…), or module:Class, several by commas"
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
