"""Characters that the HTTP service stored, found by their id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration.config.settings import Settings
from serving.character_store import ID, CharacterStore, Record, UnknownCharacter
from serving.configuration import ServiceSettings


class Gone(Exception):
    """The service has no such character any more, or never had."""


def find(word: str, settings: Settings) -> tuple[Record, Path] | None:
    """The character that `word`, an id or an address that ends in one, names, and the file that it is kept in; None
    where it can be no id. Raises Gone, in words for whoever asked.
    """
    id = word.rstrip("/").rpartition("/")[2]
    photos = settings.data / "photos"
    if not ID.fullmatch(id) or id in (id.lower(), id.upper()) or Path(word).exists() or (photos / word).exists():
        return None
    stores = _stores(settings)
    for folder in stores:
        characters = CharacterStore(folder, timedelta(0))
        try:
            record = characters.read(id)
        except UnknownCharacter:
            continue
        if record.expires < datetime.now(UTC):
            raise Gone(
                f"the character {id} expired on {record.expires:%d %B %Y}: "
                "a character.json that was saved of it leads to the same model"
            )
        return record, characters.path(id)
    looked = " or ".join(map(str, stores)) or f"{settings.home / 'serving'}, where no service has stored any"
    raise Gone(
        f"there is no character {id} in {looked}: it was never made, has expired or was deleted, or its service keeps "
        "characters elsewhere (its LIKENESS_SERVE_STORE): set that, or give a character.json, as GET "
        f"/v1/characters/{id} answers it"
    )


def _stores(settings: Settings) -> list[Path]:
    """Every folder in which services of this project keep characters."""
    named = ServiceSettings().store
    return [*([named] if named else []), *sorted((settings.home / "serving").glob("*/characters"))]
