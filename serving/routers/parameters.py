"""What the requests of several resources take beside the photo."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Header, Query

from serving.schemas import MOST_OF_A_NAME
from serving.workers.refiner import RefinementMethod

Aligned = Annotated[bool, Form(description="The answer has the aligned face as a data URL.")]
Refine = Annotated[
    RefinementMethod | None,
    Query(
        description="Search on from the encoder's answer, for a character more like the photo. `gradient`: by networks "
        "alone, about 0.1 s. `engine`: what the engine draws corrects the search and decides; 0.6 s and more."
    ),
]
Player = Annotated[
    str,
    Form(
        max_length=MOST_OF_A_NAME,
        description="Whose photo it is, in any words of yours: where a share of the players is answered by a new "
        "version (`likeness serve --canary`), each stays with one. Only a digest of it is kept, with the character: "
        "`/v1/players/{player}` lists, exports and erases what belongs to it. Left out with a player's token.",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=MOST_OF_A_NAME,
        description="Any words of yours, new for each photo. Sent again with the same ones within a day, the request "
        "is answered with the character that came of the first, as it is now, and `Idempotency-Replayed: true`; "
        "without the aligned face.",
    ),
]
KeepPhoto = Annotated[bool, Form(description="Keep the photo as long as the character: `GET …/{id}.photo`.")]
ShareCorrections = Annotated[
    bool,
    Form(
        description="The player has agreed that what is changed of this character is kept, to train on: the settings "
        "before and after, and numbers that describe the face; never the photo. With `player`, a digest of it, so that "
        "all of a player's can be erased. Only where the service keeps any (`GET /v1/service`): the answer then has "
        "`links.corrections`, which shows what is kept (GET) and takes it back (DELETE)."
    ),
]
