"""Tell a game that a job is done: a signed request to an address that whoever runs the service has allowed.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com), for which many languages have a library.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

ANSWERS_WITHIN = 10.0
PAUSES: Sequence[float] = (5.0, 30.0, 120.0, 600.0, 1800.0)
"""Seconds before each further try; each is up to a fifth longer, so that not all come at once."""
SECRET_PREFIX = "whsec_"
log = logging.getLogger("likeness.serving")


class NotAllowed(Exception):
    """Nothing may be sent to this address; the message says why."""


@dataclass(frozen=True)
class Webhooks:
    """Where messages may be sent, and what they are signed with.

    sites: scheme, name and port of each; no other is asked, whatever a client names, and no redirect is followed: the
    service stands where it may reach what a client may not.
    """

    sites: Collection[str]
    secret: str
    pauses: Sequence[float] = PAUSES

    def require_allowed(self, url: str) -> None:
        """Raises NotAllowed."""
        try:
            parts = urlsplit(url)
            site = f"{parts.scheme}://{parts.netloc}".lower()
        except ValueError as error:
            raise NotAllowed(f"{url!r} is no address") from error
        if site not in self.sites or not url.isprintable() or " " in url:
            known = ", ".join(self.sites) or "none"
            raise NotAllowed(f"{site} is not among the sites that may be told (LIKENESS_SERVE_WEBHOOKS): {known}")

    def headers(self, id: str, moment: int, body: bytes) -> dict[str, str]:
        """The headers of a message. moment: seconds since 1970."""
        key = base64.b64decode(self.secret.removeprefix(SECRET_PREFIX))
        signed = hmac.digest(key, f"{id}.{moment}.".encode() + body, hashlib.sha256)
        return {
            "Content-Type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(moment),
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }

    def pause(self, tries: int) -> float:
        """Seconds after so many tries until the next."""
        return self.pauses[tries - 1] * random.uniform(1.0, 1.2)

    async def send(self, url: str, id: str, body: bytes) -> bool:
        """Whether the other side took the message, with any status of success. Raises NotAllowed."""
        import httpx

        self.require_allowed(url)
        options: dict[str, Any] = {"timeout": ANSWERS_WITHIN, "follow_redirects": False, "trust_env": False}
        headers = self.headers(id, int(time.time()), body)
        try:
            async with (
                httpx.AsyncClient(**options) as client,
                client.stream("POST", url, content=body, headers=headers) as answer,  # whose body is left
            ):
                if answer.is_success:
                    return True
                why = str(answer.status_code)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = type(error).__name__
        log.warning("the webhook of %s was not taken (%s)", id, why)
        return False
