"""Calls of what is kept on a disk, for requests: in a thread, and with problems for what goes wrong."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from serving import problems
from serving.access import Asking
from serving.character_store import ChangedSince, ErasedMeanwhile, UnknownCharacter
from serving.dependencies import AppState
from serving.idempotency import Claim, InProgress, KeyReused


async def in_store(call: Any, *arguments: Any) -> Any:
    """What a call of the store returns; it waits for a disk, so it is made in a thread. Raises ProblemError."""
    try:
        return await asyncio.to_thread(call, *arguments)
    except UnknownCharacter as error:
        raise problems.unknown_character() from error
    except ErasedMeanwhile as error:
        raise problems.erased() from error
    except ChangedSince as error:
        raise problems.changed_since() from error
    except OSError as error:
        raise _no_storage(error) from error


async def require_free_disk(state: AppState) -> None:
    """Before a photo is kept. Raises ProblemError where the disk is nearly full: characters are to have the rest."""
    free, folder = await in_store(_free, state.characters.folder), state.characters.folder
    if free < state.service.keep_photo_free_megabytes * 1e6:
        problems.log.error("no photo is kept: %s has %d megabytes left", folder, free / 1e6)
        raise problems.no_storage()


def _free(folder: Path) -> int:
    """Bytes on the disk of a folder that may be still to be made."""
    return shutil.disk_usage(next(filter(Path.exists, (folder, *folder.parents)))).free


def _no_storage(error: OSError) -> problems.ProblemError:
    problems.log.error("the store of characters does not work: %s", error)
    return problems.no_storage()


@asynccontextmanager
async def once(state: AppState, asking: Asking, key: str, request: bytes) -> AsyncIterator[Claim]:
    """While the block runs, nobody else has this caller's Idempotency-Key. Raises ProblemError."""
    try:
        whose = " ".join((asking.caller.owner, asking.caller.player)).rstrip()
        async with state.idempotency_keys.once(whose, key, request) as claim:
            yield claim
    except KeyReused as error:
        raise problems.key_reused() from error
    except InProgress as error:
        raise problems.in_progress() from error
    except OSError as error:
        raise _no_storage(error) from error
