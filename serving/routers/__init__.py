"""What may be asked, by resource: an APIRouter each, which app.py puts together.

    characters.py   a photo in, a character out; what becomes of it
    files.py        a character's picture and files; its photo where that was kept
    corrections.py  what is kept of what players change
    codes.py        short codes for characters
    render.py       what is drawn without being kept
    random.py       random characters and presets to begin with
    players.py      tokens for players, and all that a player has
    jobs.py         many photos at once
    operations.py   what whoever runs the service asks

parameters.py has what several of them take.
"""

from starlette.convertors import StringConvertor, register_url_convertor


class Token(StringConvertor):
    """Part of a path without a dot: what follows the dot says in which form a character is asked for."""

    regex = "[^/.]+"


register_url_convertor("token", Token())
