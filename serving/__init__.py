"""The HTTP service: a player's photo in, a character's parameters out; and the page that shows and changes it.

    app.py              the service as an ASGI application
    routers/            what may be asked, by resource
    creation.py         a photo becomes a character; editing.py: it is changed; values.py: one without a photo
    responses.py        a character as it is answered, with alternatives.py; file_responses.py: as a file
    jobs.py             many photos at once; job_store.py, photo_spool.py, webhooks.py
    short_codes.py      codes to read aloud; player_tokens.py, idempotency.py, expiring.py: what is good for a while
    presets.py          people and looks to begin with
    access.py           who asks, and for what; keys.py, usage.py, player_limits.py, access_log.py
    schemas.py          what requests and answers look like; openapi.py makes their description true
    reference.py        that description for people to read
    problems.py         every error as a problem document (RFC 9457)
    middleware.py       what every request passes through: limits, origin, headers, counting; uploads.py, photos.py
    dependencies.py     what requests work with, put together from configuration.py
    releases.py         the model in production: where it comes from
    child_process.py    how the service keeps a process of its own and speaks to it
    workers/            processes that hold the model, and the queue before them
    rendering/          pictures and files of a character, and what a client needs to draw it itself
    character_store.py  characters that were made, until they expire; kept_json.py: of files that may be damaged
    web/                the page (TypeScript, three.js); static.py hands it out
    sdk/                clients in TypeScript, Python and C#
    ray_serve.py        the same application under Ray Serve

It knows `models` and `engine`. Where models come from is told to it (`releases.ReleaseSource`); `likeness serve` tells
it.
"""
