"""What can be set of the encoder's training: architecture, terms of the loss and when they run, what is learnt from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from stages.training import Optimiser, Training
from stages.training.choice_readings import Look
from stages.training.corrections import Corrections


class Terms(BaseModel, frozen=True, extra="forbid"):
    """Weight of each term; the first four as in the papers, whose lambda for the decay is 0."""

    identity: float = Field(default=0.01, ge=0)
    content: float = Field(default=1.0, ge=0)
    loop: float = Field(default=1.0, ge=0)
    decay: float = Field(default=0.0, ge=0)
    supervised: float = Field(default=1.0, ge=0)
    recognised: float = Field(
        default=0.0, ge=0, description="of the identity term by the identity imitator: of every face, without a drawing"
    )


class TermSchedule(BaseModel, frozen=True, extra="forbid"):
    """When which terms run; see `models.losses.Schedule`."""

    first: int = Field(default=0, ge=0)
    every: int = Field(default=1, ge=1)
    ramp: int = Field(default=0, ge=0)
    side_every: int = Field(default=4, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    coldest: float = Field(default=1.0, gt=0, description="the temperature at the end of the training")


class EncoderConfig(BaseModel, frozen=True, extra="forbid"):
    """Architecture, loss and training; architecture, lambdas and Adam 1e-4 are the published ones."""

    hidden: int = 512
    blocks: int = 3
    gate: int = 16
    attention: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    prior: bool = True
    """Predict inside the facial prior, found by SVD for each facial part from the rendered parameters."""
    prior_energy: float = Field(default=1.0, gt=0, le=1)
    """Share of each part's variance that the prior keeps."""
    map_features: int = Field(default=0, ge=0)
    """Numbers read from the recogniser's last convolution map beside the embedding; 0: none, as published."""
    map_channels: int = Field(default=64, gt=0)
    mirror: bool = False
    """Read a face as the mean of itself and its mirror image; in training, faces are read as they are."""
    linear_start: bool = False
    """Begin at the ridge regression of the known parameters, in a linear path beside the blocks."""
    appearance: Look | None = None
    """Choices, sex and age by what knows each of them; null: by the blocks, as published. Needs `map_features`."""
    align_domains: bool = False
    """Compare the embeddings of photos and drawings without what each domain has in common."""
    terms: Terms = Terms()
    timing: TermSchedule = TermSchedule()
    supervise_pairs: bool | None = True
    """Learn from the parameters of renders; null: only where no portraits show this character, for renders are unlike
    portraits and teach less.
    """
    supervise_portraits: bool = True
    """Learn from the training portraits' own parameters; only the embedded character can."""
    supervised_norm: Literal["l1", "l2", "standardised"] = "l2"
    group_weight: float = 0.05
    supervised_batch: int = Field(default=256, gt=0)
    pair_share: float = Field(default=0.5, ge=0, le=1)
    """Share of renders in a supervised batch, where there are both renders and portraits."""
    feature_noise: float = Field(default=0.0, ge=0)
    """Noise on features that are not drawn, in units of their own spread."""
    max_frontal_yaw: float = 20.0
    """Degrees; photos turned further get no content term."""
    content_size: int = Field(default=256, ge=64)
    """Pixels at which photo and drawing are parsed."""
    content_cache_gigabytes: float = Field(default=1.0, ge=0)
    """What the parser saw of photos is kept in so much memory and not computed again."""
    face_size: int = Field(default=256, ge=64)
    corrections: Corrections | None = Field(default=None, exclude_if=lambda value: value is None)
    """Learn from what players corrected, too (`likeness corrections`); null: not. Left out of what is recorded where it
    is null, so that encoders of before it are the same."""
    training: Training = Training(
        steps=200_000, batch=16, optimiser=Optimiser(kind="adam", rate=1e-4), evaluate_every=2000, clip=10.0
    )

    start: Literal["nothing", "last"] = "nothing"
    """`last`: begin with the weights of the newest version of this encoder, and with how it scales what it reads."""
    start_steps: int | None = Field(default=None, ge=0)
    """Steps of a training that begins with the last version's weights; null: as many as any."""

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Their names are in no configuration that does not use them: versions of before have its hash.
        off = {"start": "nothing", "start_steps": None}
        return {name: value for name, value in dump(self).items() if name not in off or value != off[name]}

    def training_of(self, started: bool) -> Training:
        """The training, from nothing or from an earlier version."""
        if not started or self.start_steps is None:
            return self.training
        return self.training.model_copy(update={"steps": self.start_steps})

    @property
    def uses_photos(self) -> bool:
        """Whether any term needs photos."""
        terms = self.terms
        return bool(terms.identity or terms.content or terms.loop or terms.decay)
