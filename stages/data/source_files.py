"""Which files of a folder count, and why the others do not: one rule for all photo sets, for a folder that is given to
`create`, and for the md5 of a source, which decides what is made again.

What an operating system, an editor, a sync program or version control leaves never counts. A photo is a file with a
picture's ending, or with an ending that says nothing and a picture's first bytes. Links are followed, but for those
that lead nowhere or back into the folder itself.
"""

from __future__ import annotations

import fnmatch
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.words import a_few

Rule = Callable[[str, Path | None], str]
"""Why a name does not count, "" where it does: of a file with its content's place, or of a folder, which has none."""
Admit = Callable[[str, list[str], list[str]], tuple[list[str], list[str]]]
"""Which folders and files of a folder somebody else's rule leaves, as DVC's own for .dvcignore."""


def _endings(text: str) -> frozenset[str]:
    return frozenset(f".{ending}" for ending in text.split())


PHOTO_ENDINGS = _endings(
    "jpg jpeg jpe jfif jfi jif pjpeg pjp mpo png apng webp bmp dib tif tiff gif avif avifs heic heif heics heifs hif"
)
LIST_ENDINGS = _endings("txt csv tsv lst mat bin npy npz parquet pts")
"""What published sets say of their photos: lists, landmarks, pickled pairs."""
RAW_ENDINGS = _endings("cr2 cr3 crw nef nrw arw srf sr2 dng orf rw2 raf pef srw x3f raw 3fr iiq erf kdc mrw")
VIDEO_ENDINGS = _endings("mov mp4 m4v avi mkv webm mpg mpeg mts m2ts 3gp 3g2 wmv flv thm lrv insv")
UNREAD_ENDINGS = _endings("jp2 j2k jpx jxl jxr psd psb xcf svg ico icns tga exr hdr eps ai pdf")

JUNK = (
    *(".DS_Store", "._*", "__MACOSX", ".AppleDouble", ".AppleDesktop", ".AppleDB", ".Spotlight-V100", ".fseventsd"),
    *(".localized", ".TemporaryItems", ".DocumentRevisions-V100", ".Trash*", "Icon\r", "Network Trash Folder"),
    *("Thumbs.db", "Thumbs.db:*", "ehthumbs*.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),
    *("*:Zone.Identifier", "lost+found", ".directory", ".nfs*", ".fuse_hidden*"),
    *("@eaDir", "@SynoResource", "@tmp", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", ".@__thumb"),
    *(".thumbnails", ".picasa*", "Picasa.ini", ".BridgeSort", ".BridgeCache*"),
    *(".stfolder*", ".stversions", ".stignore", ".syncthing.*", "~syncthing~*", "*.sync-conflict-*"),
    *("*(*conflicted copy*)*", ".dropbox*", ".sync", ".owncloudsync*", ".~lock.*#", "~$*"),
    *("*.part", "*.partial", "*.crdownload", "*.download", "*.filepart", "*.tmp", "*.temp", "*.!ut", "*.aria2"),
    *("*~", "#*#", ".#*", "*.swp", "*.swo", "*.swx", "*.kate-swp", "*.bak", "*.orig", ".idea", ".vscode"),
    *(".git", ".gitignore", ".gitattributes", ".gitkeep", ".keep", ".gitmodules", ".hg*", ".svn", ".bzr"),
    *(".dvc", "*.dvc", ".dvcignore", ".venv", ".ipynb_checkpoints"),
    *("__pycache__", "*.pyc", ".pytest_cache", ".ruff_cache", ".mypy_cache"),
)
"""Names, in any case, of what programs leave for themselves; .dvcignore says the same to DVC's own commands."""
DOCUMENTS = (
    *("README", "LICENSE", "LICENCE", "COPYING", "NOTICE", "CREDITS", "CHANGELOG", "AUTHORS", "*.md"),
    *(
        f"{name}*{ending}"
        for name in ("README", "LICENSE", "LICENCE", "COPYING", "NOTICE", "CREDITS", "CHANGELOG", "AUTHORS", "TERMS")
        for ending in (".txt", ".rst", ".html", ".pdf")
    ),
)

LEFT_BEHIND = "left by a system, an editor, a sync program or version control"
HIDDEN = "hidden"
DOCUMENT = "a text for people"
RAW = "a camera's raw file: export it as JPEG"
VIDEO = "a video: save pictures of it as JPEG or PNG"
UNREAD = "of a kind that is not read: save it as JPEG or PNG"
NO_PICTURE = "not a picture"
NOT_UTF8 = "not read because its name is not UTF-8: rename it"
NOWHERE = "a link that leads nowhere"
BACK = "a link into the folder that it lies in, where its photos are read already"
SPECIAL = "neither a file nor a folder"
NO_RIGHT = "may not be read: chmod it"
IGNORED = "left out by .dvcignore"

NAMED = 3  # how many files a line names for each reason


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, patterns)), re.IGNORECASE)


_junk, _document = _any_of(JUNK), _any_of(DOCUMENTS)
_plain = re.compile(r"\w[\w -]*\.(jpg|png)")
"""What nearly all photos are called: a set has hundreds of thousands, and each name would be put to every pattern."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file below a folder, or a folder that is left out as a whole."""

    path: Path
    why: str = ""
    """Why it does not count; "" where it does."""


# --- rules


def photos_alone(name: str, file: Path | None) -> str:
    """Photos, as a photo set reads them."""
    if file is not None and _plain.fullmatch(name):
        return ""
    if _junk.match(name):
        return LEFT_BEHIND
    if name.startswith("."):
        return HIDDEN
    return "" if file is None else _why_no_photo(name, file)


def photos_and_lists(name: str, file: Path | None) -> str:
    """What counts of data/photos: photos, and what published sets say of them."""
    if file is not None and _ending(name) in LIST_ENDINGS and not (_junk.match(name) or name.startswith(".")):
        return DOCUMENT if _document.match(name) else ""
    return photos_alone(name, file)


def anything(name: str, file: Path | None) -> str:
    """What counts of data/embedded and of a character's folder, whose renderer may read any file of its own."""
    if _junk.match(name):
        return LEFT_BEHIND
    return DOCUMENT if file is not None and _document.match(name) else ""


def _ending(name: str) -> str:
    return Path(name).suffix.lower()


def _why_no_photo(name: str, file: Path) -> str:
    ending = _ending(name)
    if ending in PHOTO_ENDINGS:
        return ""
    for endings, why in ((RAW_ENDINGS, RAW), (VIDEO_ENDINGS, VIDEO), (UNREAD_ENDINGS, UNREAD)):
        if ending in endings:
            return why
    if _document.match(name):
        return DOCUMENT
    return _why_no_picture(file)


def _why_no_picture(file: Path) -> str:
    """By the file's first bytes."""
    try:
        with file.open("rb") as opened:
            head = opened.read(32)
    except OSError:
        return NO_RIGHT
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")):
        return ""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ""
    # "BM" alone begins many a text: the size of the header that follows has few values.
    if head[:2] == b"BM" and head[14:18] in {bytes([size, 0, 0, 0]) for size in (12, 40, 52, 56, 64, 108, 124)}:
        return ""
    if head[4:8] == b"ftyp":
        pictures = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
        return "" if head[8:12] in pictures else VIDEO
    return NO_PICTURE


# --- walking


def walk(
    folder: Path, rule: Rule, without: Collection[Path] = (), admit: Admit | None = None, _above: Sequence[str] = ()
) -> Iterator[FoundFile]:
    """Every file below a folder in the order of sorted paths, with why it does not count; `without` says which places
    are not even looked at. Raises OSError when the folder itself cannot be opened.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        if not _above:
            raise
        yield FoundFile(folder, f"cannot be opened: {error.strerror}")
        return
    above = (*_above, os.path.realpath(folder))
    admitted = _admitted(folder, entries, admit)
    for entry in entries:
        path = folder / entry.name
        if path in without:
            continue
        if why := _why_not(entry, path, above, rule):
            yield FoundFile(path, why)
        elif admitted is not None and entry.name not in admitted:
            yield FoundFile(path, IGNORED)
        elif is_folder(entry):
            yield from walk(path, rule, without, admit, above)
        else:
            yield FoundFile(path)


def _admitted(folder: Path, entries: Sequence[os.DirEntry[str]], admit: Admit | None) -> set[str] | None:
    if admit is None:
        return None
    names = [entry for entry in entries if is_utf8(entry.name)]
    folders = [entry.name for entry in names if is_folder(entry)]
    files = [entry.name for entry in names if not is_folder(entry)]
    return {name for kept in admit(str(folder), folders, files) for name in kept}


def _why_not(entry: os.DirEntry[str], path: Path, above: Sequence[str], rule: Rule) -> str:
    """Why an entry of a folder does not count; `above`: the real places of the folders that it lies in."""
    if not is_utf8(entry.name):
        return NOT_UTF8
    if is_folder(entry):
        return rule(entry.name, None) or (BACK if entry.is_symlink() and _leads_back(path, above) else "")
    if entry.is_symlink() and not path.exists():
        return rule(entry.name, None) or NOWHERE
    if not is_file(entry):
        return SPECIAL
    return rule(entry.name, path) or ("" if os.access(path, os.R_OK) else NO_RIGHT)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one."""
    # The entry's own answer to a link to itself is an error.
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a plain file or a link to one."""
    return Path(entry.path).is_file() if entry.is_symlink() else entry.is_file()


def _leads_back(link: Path, above: Sequence[str]) -> bool:
    target = Path(os.path.realpath(link))
    return target.is_relative_to(above[0]) or any(Path(place).is_relative_to(target) for place in above)


def why_not(path: PurePosixPath, content: Path, rule: Rule) -> str:
    """Why a file of a folder's listing does not count: by its own name and content, or by a folder that it lies in."""
    return next(filter(None, (rule(part, None) for part in path.parent.parts)), "") or rule(path.name, content)


def counted(folder: Path, rule: Rule = photos_alone, without: Collection[Path] = ()) -> Iterator[Path]:
    """The files below a folder that count, in the order of sorted paths."""
    return (entry.path for entry in walk(folder, rule, without) if not entry.why)


# --- names


def is_utf8(name: str) -> bool:
    """Whether a name can be written into a table, a database or a page."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def identity(name: str) -> str:
    """A person's or a file's name in the form in which names are compared: what looks the same is the same."""
    return unicodedata.normalize("NFC", name)


def printable(name: str) -> str:
    """A name on one line, whatever bytes it is made of."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter
        for letter in text
    )


# --- what is said of it


@dataclass(frozen=True)
class ScanReport:
    """What was found below a folder."""

    folder: Path
    files: Sequence[Path]
    """What counts."""
    photos: Sequence[Path]
    """Those of them that are photos; the others are lists of published sets."""
    left_out: Sequence[FoundFile]

    @property
    def alike(self) -> list[list[str]]:
        """Names of people's folders that differ by case or blanks alone: two people here, perhaps one in truth."""
        groups: dict[str, set[str]] = {}
        for photo in self.photos:
            inside = photo.relative_to(self.folder)
            if len(inside.parts) > 1:
                name = identity(inside.parts[0])
                groups.setdefault(" ".join(name.casefold().split()), set()).add(name)
        return [sorted(names) for names in groups.values() if len(names) > 1]

    def place(self, entry: FoundFile) -> str:
        """A left-out entry's place below the folder, fit to be printed."""
        return printable(entry.path.relative_to(self.folder).as_posix())

    def why(self) -> dict[str, list[str]]:
        """What was left out, by the reason; what somebody may miss comes before what nobody does."""
        missed_least = ("", NO_PICTURE, DOCUMENT, HIDDEN, LEFT_BEHIND)
        found: dict[str, list[str]] = {}
        for entry in sorted(
            self.left_out, key=lambda entry: missed_least.index(entry.why) if entry.why in missed_least else 0
        ):
            found.setdefault(entry.why, []).append(self.place(entry))
        return found

    def __str__(self) -> str:
        """One line: how much was read, and what was not and why."""
        others = len(self.files) - len(self.photos)
        listed = f" and {_number(others, 'other file')}" if others else ""
        line = f"{_number(len(self.photos), 'photo')}{listed} read"
        left_out = [f"{a_few(names, NAMED)} ({why})" for why, names in self.why().items()]
        if left_out:
            line += f"; left out: {'; '.join(left_out)}"
        for names in self.alike:
            line += f"; {' and '.join(map(repr, names))} are two people here: give them one name if they are one"
        return line


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def report(folder: Path, rule: Rule = photos_alone, admit: Admit | None = None) -> ScanReport:
    """Look through a folder. Raises OSError when it cannot be opened."""
    entries = list(walk(folder, rule, admit=admit))
    files = [entry.path for entry in entries if not entry.why]
    photos = [path for path in files if not photos_alone(path.name, path)]
    return ScanReport(folder, files, photos, [entry for entry in entries if entry.why])
