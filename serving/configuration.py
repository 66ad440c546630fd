"""What the service allows and keeps. Every field can be set by an environment variable LIKENESS_SERVE_<FIELD>."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CANARY_WORKERS = 1
"""Processes that hold the canary's version."""


def _site(text: str) -> str:
    """An origin as browsers write it. Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or text != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"{text!r} is no site: write https://game.example, without a path")
    if not re.fullmatch(r"[\w.:\[\]-]+", parts.netloc, re.ASCII):
        raise ValueError(f"{text!r} is no site: name each one by its whole name")
    return text.lower()


def _bytes_of(text: str) -> int:
    """How many bytes base64 stands for; 0 for what is none."""
    try:
        return len(base64.b64decode(text, validate=True))
    except ValueError:
        return 0


Site = Annotated[str, AfterValidator(_site)]
"""Scheme, name and port: https://game.example."""


class ServiceSettings(BaseSettings):
    """One object with all limits of the service."""

    model_config = SettingsConfigDict(env_prefix="LIKENESS_SERVE_", frozen=True, extra="forbid", defer_build=True)

    keys: Path | None = None
    """File of API keys, as `likeness key` writes it; without one, only this machine may ask."""
    store: Path | None = None
    """Folder of the characters that were made; with several machines, one that all of them see.
    None: in the project's home folder."""
    keep_days: PositiveFloat = 7.0
    """How long a character, and a photo whose owner asked for it to be kept, can be asked for."""
    keep_photo_free_megabytes: float = Field(default=500.0, ge=0.0)
    """While less than so much is free on the disk of the characters, no photo is kept (`keep_photo`)."""
    player_per_minute: PositiveInt = 300
    """Requests of one player's token in a minute, in each process; more are answered with 429."""
    player_photos_per_day: PositiveInt = 200
    """Photos that one player's token may have read in a day, in each process; more are answered with 429."""
    player_characters: PositiveInt = 200
    """Characters that one player's token may have at once; more are refused until one is deleted or expires."""
    photo_megabytes: PositiveFloat = 20.0
    """A larger photo is refused before it is read to its end."""
    photo_megapixels: PositiveFloat = 50.0
    """A larger photo is refused before it is decoded."""
    batch_photos: PositiveInt = 32
    """Photos in one request to `/v1/characters:batch`."""
    person_photos: PositiveInt = 8
    """Photos of one person in a request to `/v1/characters:person`."""
    batch_megabytes: PositiveFloat = 100.0
    """All photos of such a request together."""
    uploads_megabytes: PositiveFloat = 1024.0
    """All requests' bodies that are in memory at once in one process, or the largest that one may have where that is
    more; beyond, requests are answered with 429."""
    upload_seconds: PositiveFloat = 300.0
    """Seconds in which a request's body has to come, or it is answered with 408."""
    jobs: PositiveInt = 2
    """Jobs (`/v1/jobs`) that may run at once in one process, all of whose photos are in memory."""
    job_photos: PositiveInt = 256
    """Photos of a job."""
    job_megabytes: PositiveFloat = 256.0
    """All photos of a job together."""
    job_spool: Path | None = None
    """Folder where photos of jobs lie until each is read, so that a job outlives its process; with several machines,
    one that all of them see. None: in memory alone, but for jobs that ask for photos to be kept (`keep_photo`)."""
    webhooks: tuple[Site, ...] = ()
    """Sites that may be told when a job is done, as JSON: ["https://game.example"]. No other is ever asked."""
    webhook_secret: SecretStr = SecretStr("")
    """What these messages are signed with: `whsec_` and base64 of 24 bytes or more."""
    origins: tuple[str, ...] = ()
    """Other sites whose pages may ask, as JSON: ["https://game.example"]; they are trusted with what the service
    answers to their visitors."""
    frames: tuple[Site, ...] = ()
    """Sites whose pages may show this service's page in a frame, as JSON: ["https://game.example"]. They hear what
    becomes of the character (docs/embedding.md)."""
    access_log: str = ""
    """A file that gets a line of JSON for each request, or `-` for the standard output. It has no photo, no key, no
    address of whoever asked. Empty: none."""
    presets: Path | None = None
    """A studio's own file of presets, as serving/presets.yaml is one. None: those of that file that fit the
    character."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What the model runs on."""
    precision: Literal["auto", "float32"] = "auto"
    """What photos are read in; auto: bfloat16 on a CPU with instructions for it (docs/results.md). Machines of both
    kinds give answers that differ a little: float32 on all of them makes them alike."""
    workers: PositiveInt = Field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Processes that hold the model; by default one for each processor that this process may run on."""
    batch: PositiveInt = 4
    """Photos that a worker reads at once."""
    queue: PositiveInt = 128
    """Photos that may wait for a worker; more are answered with 429."""
    timeout: PositiveFloat = 30.0
    """Seconds that a request may take before it is answered with 503."""
    refine_seconds: PositiveFloat = 5.0
    """Seconds that a search with the engine may take (`refine=engine`); then it ends with its best answer so far."""
    grace: PositiveFloat = 30.0
    """Seconds that requests under way may take once the service is asked to stop."""
    follow: PositiveFloat = 5.0
    """Seconds between two looks at the registry's alias."""
    shadow: str = ""
    """A version, by its number or an alias, that reads photos beside the one in production and answers nobody; how the
    two differ is kept as numbers. Empty: none does."""
    shadow_seconds: PositiveFloat = 30.0
    """Seconds after the answer in which that version has to have read the photo; then it is late."""
    shadow_queue: PositiveInt = 8
    """Photos that may wait for that version, in memory; more are passed over."""
    shadow_store: Path | None = None
    """Folder of the comparisons; with several machines, one that all of them see.
    None: in the project's home folder."""
    shadow_megabytes: PositiveFloat = 50.0
    """Comparisons beyond so much are deleted, the oldest first; a megabyte holds about two thousand."""
    canary: float = Field(default=0.0, ge=0.0, le=100.0)
    """So many players in a hundred are answered by the version of `shadow`, or the alias `candidate` where that is
    empty."""
    statistics: bool = False
    """Whether it is counted day by day what the photos are like that were read: light, pose, remarks, choices."""
    statistics_store: Path | None = None
    """Folder of these counts; with several machines, one that all of them see. None: in the project's home folder."""
    statistics_days: PositiveInt = 90
    """How long a day's counts are kept."""
    corrections: bool = False
    """Whether it is kept what players change of their characters, of those who agree to it (`share_corrections`): to
    train on, never the photo."""
    corrections_store: Path | None = None
    """Folder of these rows; with several machines, one that all of them see. None: in the project's home folder."""

    @model_validator(mode="after")
    def _signed(self) -> Self:
        secret = self.webhook_secret.get_secret_value()
        if self.webhooks and not (secret.startswith("whsec_") and _bytes_of(secret.removeprefix("whsec_")) >= 24):
            raise ValueError(
                "LIKENESS_SERVE_WEBHOOKS needs LIKENESS_SERVE_WEBHOOK_SECRET: "
                'echo "whsec_$(openssl rand -base64 32)" makes one'
            )
        return self

    @property
    def candidate(self) -> str:
        """The version beside the one in production, by its number or an alias; empty: there is none."""
        return self.shadow or ("candidate" if self.canary else "")
