"""What requests and answers look like: the models that OpenAPI shows, with examples.

Clients know each by its title, which is the class's name where none is given.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine import expressions
from engine.exporters.options import AVATAR, LODS, TEXTURES, UNKNOWN_AUTHOR, Naming, Targets
from engine.exporters.options import DEFAULTS as EXPORT
from engine.expressions import EXPRESSIONS
from engine.picture_options import COLOUR, MOST_PITCH, MOST_YAW, TRANSPARENT, Crop
from serving.short_codes import LONGEST

MOST_SEEDS = 2**53
"""A larger number is not exact in every language."""
MOST_OF_A_NAME = 256
"""Characters of a player's name, and of an Idempotency-Key."""
MOST_AUTHORS = 16
AvatarName = Annotated[str, Field(min_length=1, max_length=MOST_OF_A_NAME)]


class Choice(BaseModel):
    """What one group is set to."""

    choice: str
    probabilities: dict[str, float]
    """Of every choice, as the encoder saw them."""


class Remark(BaseModel):
    """Something about the photo that may make the character unlike the person."""

    code: str = Field(examples=["side_view"])
    """doubtful_face, several_faces, side_view, tilted, small_face, blurred, dark, overexposed, grey,
    wide_smile, mask, hair_before_face; `other` from older models."""
    text: str = Field(examples=["side view: the head is turned by 42 degrees"])


class PhotoDescription(BaseModel, title="Photo"):
    """What was found in the photo."""

    sha256: str
    faces: int
    box: tuple[float, float, float, float] = Field(description="left, top, right, bottom of the face, pixels")
    yaw: float = Field(description="degrees; positive: turned towards the picture's right")
    pitch: float = Field(description="degrees; positive: looking up")
    boxes: list[tuple[float, float, float, float]] = Field(
        default=[], description="the same as `box` of each face, where there are several: the one that was taken first"
    )
    warnings: list[str]
    remarks: list[Remark] = []
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="what the networks multiplied in, which depends on the machine"
    )


class Provenance(BaseModel):
    """Which model answered, and from which data it was made."""

    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(examples=["likeness-embedded"])
    version: int
    run: str | None = Field(default=None, description="MLflow's run")
    commit: str | None = None
    inputs: dict[str, str] = Field(description="md5 of each input of the encoder's training")


class Links(BaseModel):
    """Where the same character is to be had in other forms."""

    self: str
    png: str | None = None
    webp: str | None = None
    glb: str | None = None
    vrm: str | None = None
    mhm: str | None = None
    photo: str | None = None
    corrections: str | None = None
    """What is kept of changes by hand; in the answer that made the character, where that is kept."""


class UnusablePhoto(BaseModel):
    """One of several photos that nothing could be read of."""

    sha256: str
    error: str


class Alternative(BaseModel):
    """Choices that the photo may mean as well: send `discrete` as a change (PATCH) to take them."""

    discrete: dict[str, str] = Field(examples=[{"hair": "short03"}])
    relative: float = Field(description="how likely beside what was taken; 1: as likely")


class CharacterResponse(BaseModel, title="Character"):
    """A character.json (format 1), with what the service adds: `id`, `links`, when it was made and when it goes."""

    format: int = 1
    id: str = Field(examples=["hT4Rk1-0m2vGqE9wYl3ZsA"])
    character: str = Field(examples=["embedded"])
    schema_md5: str
    parameters: dict[str, float] = Field(description="every slider in [0, 1]")
    discrete: dict[str, Choice]
    engine: dict[str, Any] | None = Field(default=None, description="the same in the studio's own names and units")
    confidence: dict[str, float] = Field(default={}, description="of each group, the probability of its choice")
    alternatives: list[Alternative] = Field(
        default=[], description="what the photo may mean as well, the likeliest first; empty where it leaves no doubt"
    )
    likely: dict[str, list[str]] = Field(
        default={},
        description="of each group that the photo leaves open, what was read of it, and then what is likely as well",
        examples=[{"hair": ["short02", "short03"]}],
    )
    photo: PhotoDescription = Field(description="of several photos, the one that shows the face most from the front")
    photos: list[PhotoDescription | UnusablePhoto] | None = Field(
        default=None, description="each photo, where the character was made of several"
    )
    provenance: Provenance
    edited: list[str] = Field(default=[], description="sliders and groups that were changed by hand since")
    read: KeptValues | None = Field(default=None, description="what the photo gave for those in `edited`")
    created: datetime
    expires: datetime
    links: Links
    aligned: str | None = Field(
        default=None, description="the aligned face as a data URL (JPEG), where `aligned=true` asked for it"
    )


class Edit(BaseModel, extra="forbid"):
    """New values for some sliders and groups; all others stay."""

    parameters: dict[str, float] = Field(default={}, examples=[{"nose_width": 0.62}])
    discrete: dict[str, str] = Field(default={}, examples=[{"hair": "short02"}])


class Chosen(BaseModel):
    """A choice as a character.json has it."""

    choice: str


class CharacterValues(BaseModel):
    """A character.json, or of it `parameters` and `discrete` alone. What else it has is not looked at."""

    character: str | None = Field(default=None, description="the service's own, where it is not named")
    schema_md5: str | None = Field(default=None, description="today's, where it is not named")
    parameters: dict[str, float] = Field(default={}, examples=[{"nose_width": 0.62}])
    discrete: dict[str, str | Chosen] = Field(default={}, examples=[{"hair": "short02"}])

    def document(self, character: str, schema_md5: str) -> dict[str, Any]:
        """As a character.json says it, with these where nothing is said."""
        chosen = {
            name: {"choice": one.choice if isinstance(one, Chosen) else one} for name, one in self.discrete.items()
        }
        return {
            "character": self.character or character,
            "schema_md5": self.schema_md5 or schema_md5,
            "parameters": dict(self.parameters),
            "discrete": chosen,
        }


class PictureQuery(BaseModel, extra="forbid"):
    """How a picture is taken; the defaults are the game's own."""

    size: int = Field(default=512, ge=64, le=1024, description="Pixels of the picture's side.")
    yaw: float = Field(default=0, ge=-MOST_YAW, le=MOST_YAW, description="Degrees, to the picture's right.")
    pitch: float = Field(default=0, ge=-MOST_PITCH, le=MOST_PITCH, description="Degrees, up.")
    expression: str = Field(
        default="",
        max_length=2000,
        description=f"{', '.join(EXPRESSIONS)}; or weights of ARKit's face actions: `jawOpen:0.3,mouthSmileLeft:0.5`.",
        examples=["smile"],
    )
    background: str = Field(
        default="",
        pattern=f"^({COLOUR.pattern}|{TRANSPARENT})?$",
        description="rrggbb in hexadecimal digits, or `transparent`; the game's own where it is empty.",
        examples=[TRANSPARENT],
    )
    crop: Crop = Field(default="portrait", description="`face`: closer.")
    resting: bool = Field(
        default=True,
        description="False: no smile but that of `expression`, and eyes that look ahead instead of at the camera.",
    )

    @field_validator("expression")
    @classmethod
    def _known(cls, text: str) -> str:
        expressions.parse(text)
        return text

    def options(self) -> dict[str, Any]:
        """As `CharacterRenderer.png` takes them."""
        return {**dict(self), "expression": expressions.parse(self.expression)}


class GeometryQuery(BaseModel, extra="forbid"):
    """What the geometry of a 3D file has."""

    targets: Targets = Field(
        default=EXPORT.targets, description="Morph targets: of all sliders and face shapes, or of face shapes alone."
    )
    lod: int = Field(
        default=EXPORT.lod,
        ge=min(LODS),
        le=max(LODS),
        description="Level of detail. 0: rounded, four times the triangles; 1: as the engine has it; 2: a third.",
    )
    texture: int = Field(
        default=EXPORT.texture,
        json_schema_extra={"enum": list(TEXTURES)},
        description="Pixels of a side of the skin's pictures.",
    )

    @field_validator("texture")
    @classmethod
    def _one_of(cls, size: int) -> int:
        if size not in TEXTURES:
            raise ValueError(f"it is one of {', '.join(map(str, TEXTURES))}")
        return size

    def options(self) -> dict[str, Any]:
        """As `CharacterRenderer.glb` and `vrm` take them; what is left at its default does not change a file's ETag."""
        return self.model_dump(exclude_defaults=True)


class ModelQuery(GeometryQuery):
    """What a .glb has."""

    bones: Naming = Field(default=EXPORT.bones, description="Whose names the bones have.")


class AvatarQuery(GeometryQuery):
    """What a .vrm has, and what its terms of use say."""

    name: AvatarName = Field(default=AVATAR, description="The character's name.")
    author: list[AvatarName] = Field(
        default=[], max_length=MOST_AUTHORS, description=f"Who made the character, each; `{UNKNOWN_AUTHOR}` for nobody."
    )


class RandomCharacter(BaseModel):
    """Values that no photo stands behind: a character.json that can be drawn, without a photo and a model."""

    format: int = 1
    character: str = Field(examples=["embedded"])
    schema_md5: str
    seed: int = Field(description="what gives the same character again")
    parameters: dict[str, float] = Field(description="every slider in [0, 1]")
    discrete: dict[str, Choice]
    engine: dict[str, Any] | None = Field(default=None, description="the same in the studio's own names and units")


class RandomQuery(BaseModel, extra="forbid"):
    """What is decided of a random character."""

    seed: int | None = Field(default=None, ge=0, lt=MOST_SEEDS, description="The same seed gives the same one.")
    preset: str | None = Field(default=None, description="a name of `/v1/presets`", examples=["old_man"])
    parameters: dict[str, float] = Field(default={}, examples=[{"nose_width": 0.62}])
    discrete: dict[str, str] = Field(default={}, examples=[{"hair": "short02"}])


class PublishedPreset(BaseModel, title="Preset"):
    """Some sliders and choices: send them as a change (PATCH), draw them (`/v1/render…`), or begin with them."""

    name: str = Field(examples=["old_man"])
    kind: Literal["person", "look"] = Field(
        description="`person`: somebody to begin with; `look`: goes over a character that is there"
    )
    label: str
    parameters: dict[str, float]
    discrete: dict[str, str]


class Presets(BaseModel):
    """Those that this character can have."""

    presets: list[PublishedPreset]


class ServiceOptions(BaseModel):
    """What the service was configured to do."""

    keeps_corrections: bool = Field(
        description="what players change is kept of those who agree: `share_corrections` of `POST /v1/characters`"
    )
    photo_megabytes: float = Field(description="the largest photo that is taken, in 1,000,000 bytes")
    photo_megapixels: float = Field(description="the same in 1,000,000 pixels")
    person_photos: int = Field(description="the most photos of one person that `POST /v1/characters:person` takes")
    person_megabytes: float = Field(description="all of them together, in 1,000,000 bytes")
    frames: list[str] = Field(default=[], description="sites whose pages may show the service's page in a frame")


class TokenRequest(BaseModel, extra="forbid"):
    """Whom a token is for, and for how long."""

    player: str = Field(min_length=1, max_length=MOST_OF_A_NAME, description="the player, in any words of yours")
    seconds: int = Field(default=3600, ge=60, le=86_400, description="how long it lives")


class TokenResponse(BaseModel, title="Token"):
    """What a player's page sends as its key: it is for this player's characters alone."""

    token: str
    expires: datetime


class CodeRequest(BaseModel, extra="forbid"):
    """For how long a code is wanted."""

    seconds: int = Field(default=86_400, ge=60, le=round(LONGEST.total_seconds()), description="how long it lives")


class CodeResponse(BaseModel, title="Code"):
    """A short code for a character: `GET /v1/codes/{code}` gives it."""

    code: str = Field(examples=["K7M2-QX9D"], description="case, hyphens and spaces do not matter")
    expires: datetime


class JobResult(BaseModel):
    """One photo of a job: a character's id and address, or a problem."""

    name: str = Field(description="the file's name as it was sent")
    id: str | None = None
    self: str | None = None
    problem: ProblemDetails | None = None


class JobCallback(BaseModel):
    """Whether the game was told."""

    url: str
    delivered: bool | None = Field(default=None, description="missing: not yet")


class JobLinks(BaseModel):
    """Where the job is to be had."""

    self: str


class JobResponse(BaseModel, title="Job"):
    """Many photos, read one after the other."""

    id: str
    state: Literal["running", "done", "lost"]
    created: datetime
    photos: int
    results: list[JobResult] = Field(description="of the photos that were read so far, in order")
    callback: JobCallback | None = None
    links: JobLinks


class PlayerCharacters(BaseModel):
    """What a player has."""

    characters: list[CharacterResponse]


class Erased(BaseModel):
    """How many of each are gone."""

    characters: int
    corrections: int
    tokens: int


class KeptValues(BaseModel):
    """A character's sliders and choices."""

    parameters: dict[str, float]
    discrete: dict[str, str]


class KeptVersion(BaseModel):
    """A registered model: its version, and its run in MLflow."""

    version: int
    run: str


class CorrectionResponse(BaseModel, title="Correction"):
    """All that is kept of a character's changes. There is no photo in it."""

    id: str
    player: str = Field(description="a digest of the id that the game gave; empty: it gave none")
    consent: bool
    day: date = Field(description="on which the photo was read")
    changed: date = Field(description="on which the character was changed last")
    version: KeptVersion
    encoder: str = Field(description="md5 of the version's encoder")
    recogniser: str = Field(description="md5 of what it recognises faces with")
    character: str
    schema_md5: str
    refined: str = Field(description="how the answer was searched closer; empty: it was not")
    features: str = Field(description="base64 of float16: the numbers that the encoder read of the face")
    before: KeptValues
    after: KeptValues | None = Field(default=None, description="missing: nothing was changed")


class ProblemDetails(BaseModel, title="Problem"):
    """An RFC 9457 problem document, media type application/problem+json."""

    type: str = Field(examples=["/problems/no-face"])
    title: str = Field(examples=["No face"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["no face was found in the photo"])
    instance: str | None = Field(default=None, description="the request, as the service's log names it")


class BatchItem(BaseModel):
    """One photo's answer: either a character or a problem."""

    name: str | None = Field(default=None, description="the file's name as it was sent")
    character: CharacterResponse | None = None
    problem: ProblemDetails | None = None


class Batch(BaseModel):
    """An answer for each photo, in order."""

    results: list[BatchItem]
