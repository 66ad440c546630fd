"""The HTTP service: a player's photo in, a character's parameters out; and the page that shows and changes it.

    app.py            the service as an ASGI application: who may ask what, and in which words it answers
    documents.py      what requests and answers look like
    problems.py       every error as a problem document (RFC 9457)
    releases.py       the model in production: found, fetched, followed when the alias moves
    workers/          processes that hold a model each, and the queue before them
    characters.py     characters that were made, until they expire
    drawing/          pictures and files of a character, and what a client needs to draw it itself
    web/              the page (TypeScript, three.js)

It knows `models` and `engine`. Where models come from is told to it (`releases.Source`); `likeness serve` tells it.
"""
