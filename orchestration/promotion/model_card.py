"""The model card of a registered version: what it was made of and how, how good it is for whom, and where it fails.

Everything in it is read from where it is recorded: MLflow's registry, Dagster's events, the store's listings, the
version's scorecard, and stages/data/origins.yaml, which knows whose the rest is. What is recorded nowhere is named in
`unknown`; nothing is guessed. So versions that were registered before there were cards have one too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestration.config.catalog import SOURCES, STAGES
from orchestration.promotion import card_pages, card_scores
from orchestration.promotion.comparison import ASSET
from orchestration.promotion.packaging import LANDMARKER, NETWORKS, page_of
from orchestration.promotion.version_costs import of_version
from orchestration.registry.promotion_events import RegistryError
from orchestration.registry.registered_models import COSTS, INPUT, SCORED, RegisteredVersion, Registry
from orchestration.storage.costs import Cost
from orchestration.storage.store import RemoteDown, Store, StoreError
from orchestration.storage.tracking import RETRAINING
from orchestration.storage.version_index import VersionIndex, fitting
from orchestration.storage.versions import UNKNOWN, Version, as_text, source_key
from stages.data import origins, source_files
from stages.data.origins import Part, manifest

INTENDED_USE = Path(__file__).with_name("intended_use.yaml")
FILES = "model_card"
NOTE = "mlflow.note.content"
"""The tag that MLflow shows as the description of a logged model."""
DATA = ("portraits", "aligned_faces", "rendered_pairs")
"""The tables that models learn from."""
OWN_PHOTOS = "nobody noted a licence: they are the project owner's to answer for"

Document = dict[str, Any]


def describe(
    registry: Registry, version: str, store: Store, index: VersionIndex, made: Version | None = None
) -> Document:
    """The card of a version, by its number or an alias, as one JSON document.

    made: how it was registered, where Dagster does not know it yet. Raises UnknownVersion, RegistryError.
    """
    found = registry.find(version)
    card = _Card(registry, found, store, index, records={ASSET: made} if made else {})
    sections = {
        "model": card.model(),
        "use": yaml.safe_load(INTENDED_USE.read_text(encoding="utf-8")),
        "data": card.data(),
        "weights": card.weights(),
        **card.scores(),
        "made": card.made(),
    }
    return {**sections, "unknown": list(dict.fromkeys(card.unknown))}


def keep(registry: Registry, version: str, card: Document) -> None:
    """Put a card into MLflow: the files `model_card.*` of the version's run, what it cost as metrics, and its beginning
    as the description of the version and of its model's page, unless somebody wrote another one there.
    """
    found, client = registry.find(version), registry.client
    run, described = str(found.run_id), found.description
    client.log_dict(run, card, f"{FILES}.json")
    client.log_text(run, card_pages.markdown(card, complete=True), f"{FILES}.md")
    client.log_text(run, card_pages.html(card), f"{FILES}.html")
    costs = {name: Cost.of(card["made"]["cost"][name], "") for name in COSTS}
    registry.log_costs(str(found.version), {name: cost for name, cost in costs.items() if cost and cost.seconds})
    if not described or described.endswith(card_pages.MORE):
        text = card_pages.description(card)
        client.update_model_version(registry.name, str(found.version), text)
        if page := page_of(str(client.get_model_version(registry.name, str(found.version)).source)):
            client.set_logged_model_tags(page, {NOTE: text})


@dataclass
class _Card:
    """One version, and what was looked for and not found."""

    registry: Registry
    version: RegisteredVersion
    store: Store
    index: VersionIndex
    unknown: list[str] = field(default_factory=list)
    records: dict[str, Version | None] = field(default_factory=dict)
    """What was asked of Dagster, by asset."""

    @property
    def tags(self) -> dict[str, str]:
        """Of the version in MLflow's registry."""
        return dict(self.version.tags)

    @property
    def ancestors(self) -> dict[str, str]:
        """md5 of everything that the version came from, by asset."""
        return {name.removeprefix(INPUT): md5 for name, md5 in self.tags.items() if name.startswith(INPUT)}

    def record(self, asset: str) -> Version | None:
        """Dagster's record of what the version was made from, or of the version itself."""
        if asset not in self.records:
            md5 = self.tags.get("md5") if asset == ASSET else self.ancestors.get(asset)
            known = self.index.of(source_key(asset), md5) if md5 else []
            self.records[asset] = fitting(known, self.ancestors, self.registry.character)
            if self.records[asset] is None:
                lost = f"how {asset} was made: Dagster has no record of {md5}"
                self.unknown.append(lost if md5 else f"which {asset} it is, or came from")
        return self.records[asset]

    def config(self, asset: str) -> Mapping[str, Any] | None:
        """The configuration that an asset was made with, None where nobody recorded it."""
        made = self.record(asset)
        return made.metadata.get("config") if made else None

    def listing(self, asset: str) -> Mapping[str, str] | None:
        """md5 by file of a source, None where the listing is nowhere to be had."""
        md5 = self.ancestors.get(asset)
        try:
            return self.store.listing(md5) if md5 else None
        except (StoreError, RemoteDown) as error:
            self.unknown.append(f"which files {asset} {md5} has: {error}")
            return None

    # --- sections

    def model(self) -> Document:
        """Which version this is."""
        state, number = self.registry.alias_store.state(), str(self.version.version)
        return {
            "name": self.registry.name,
            "version": int(number),
            "character": self.registry.character,
            "aliases": sorted(alias for alias, target in state.aliases.items() if target == number),
            "rejected": state.is_rejected(number),
            "registered": as_text(self.version.creation_timestamp / 1000),
            "md5": self.tags.get("md5"),
            "mlflow_run": self.version.run_id,
            "page": self.registry.tracking.model_url(self.registry.name, number),
        }

    def data(self) -> Document:
        """The sources and tables that it came from, with their licences."""
        return {
            "sources": [
                {"name": name, "md5": self.ancestors.get(name), "what": SOURCES[source_key(name)], **more}
                for name, more in (("photos", self._photos()), ("embedded", self._embedded()), ("character", {}))
            ],
            "tables": [self._table(asset) for asset in DATA if asset in self.ancestors],
        }

    def _photos(self) -> Document:
        """Real photos: those that come with the project by their md5, the sets of the configuration by their kind."""
        listing, sets = self.listing("photos"), (self.config("aligned_faces") or {}).get("photo_sets")
        if sets is None:
            self.unknown.append("which photo sets were read, and whether any photo of theirs was trained on")
        faces = self.record("aligned_faces")
        found: Document = {"sets": [_photo_set(one, faces.metadata if faces else {}) for one in sets or ()]}
        if listing is None:
            return found
        photos = {path: md5 for path, md5 in listing.items() if not _is_list(path)}
        known = [photo for photo in origins.load().examples if photo.md5 in photos.values()]
        others = len(photos) - sum(md5 in {photo.md5 for photo in known} for md5 in photos.values())
        named = [photo.model_dump(include={"file", "person", "by", "license", "md5"}) for photo in known]
        return found | {"photos": len(photos), "examples": named, "others": others}

    def _embedded(self) -> Document:
        """What of data/embedded is no weights."""
        listing = self.listing("embedded")
        parts = [part for part in origins.load().parts if not part.weights and (listing is None or part.of(listing))]
        return {
            "parts": [_part(part) for part in parts if any(file.startswith(origins.EMBEDDED) for file in part.files)]
        }

    def _table(self, asset: str) -> Document:
        made = self.record(asset)
        rows = {name.removeprefix("rows_"): n for name, n in (made.metadata if made else {}).items() if _is_rows(name)}
        (what,) = (stage.description for stage in STAGES if stage.name == asset)
        return {"name": asset, "md5": self.ancestors[asset], "rows": rows, "what": what}

    def weights(self) -> list[Document]:
        """Trained weights that came from elsewhere: those in the model, and those that scored it."""
        listing, config = self.listing("embedded"), self.config("identity_model")
        found = []
        for part in (part for part in origins.load().parts if part.weights):
            files = part.of(listing if listing is not None else manifest())
            if files:
                md5s = {name: listing[name] for name in files} if listing is not None else {}
                about = {"in_the_model": _is_in_model(part, config), "md5": md5s, "as_described": self._described(md5s)}
                found.append({**_part(part), "what": part.weights, "trained_on": part.trained_on, **about})
        if own := (config or {}).get("weights"):
            what, model = {"what": "the recogniser that training began with"}, {"in_the_model": True, "md5": {}}
            named = {"name": str(own), "origin": "the configuration", "by": None, "license": None, "trained_on": None}
            found.append({**named, **what, **model, "as_described": None})
            self.unknown.append(f"whose weights {own} are")
        self.unknown += [
            f"what {one['name']} was trained on" for one in found if one["origin"] and not one["trained_on"]
        ]
        return found

    def _described(self, md5s: Mapping[str, str]) -> bool | None:
        """Whether these are the very files that are described today; None where their bytes are not at hand."""
        known = manifest()
        try:
            files = {name: self.store.file(md5) for name, md5 in md5s.items()}
        except (StoreError, RemoteDown):
            return None
        same = [hashlib.sha256(file.read_bytes()).hexdigest() == known.get(name) for name, file in files.items()]
        return all(same) if same else None

    def scores(self) -> Document:
        """Scores of its newest scorecard, by group and on real people, and what they say of where it fails."""
        number = str(self.version.version)
        try:
            card = self.registry.scorecard(number)
        except RegistryError as error:
            self.unknown.append(f"how good it is: {error}")
            card = {}
        scored = {name.removeprefix(SCORED): md5 for name, md5 in self.tags.items() if name.startswith(SCORED)}
        made, faces = self.record(ASSET), self.record("aligned_faces")
        failures = list(card_scores.failures(card))
        failures += card_scores.refused_photos(faces.metadata if faces else {})
        failures += [
            {"kind": "gate", "text": text} for text in (made.metadata if made else {}).get("refused_because") or ()
        ]
        return {
            "scores": card_scores.main(card),
            "real_people": card_scores.real_people(card),
            "groups": card_scores.by_group(card),
            "scored_on": {**{name: self.ancestors.get(name) for name in ("scorecard", "aligned_faces")}, **scored},
            "failures": failures,
        }

    def made(self) -> Document:
        """Profile, code, and every step from the sources to the registered model."""
        profile, commit = self.tags.get("profile"), self.tags.get("git.commit", UNKNOWN)
        if not profile:
            self.unknown.append("under which profile it was made")
        if commit == UNKNOWN:
            self.unknown.append("by which commit of the code it was made")
        names = [stage.name for stage in STAGES if stage.name in self.ancestors]
        steps = [_step(name, self.ancestors[name], self.record(name)) for name in names]
        steps.append(_step(ASSET, self.tags.get("md5"), self.record(ASSET)) | {"mlflow_run": self.version.run_id})
        inputs = dict(sorted(self.ancestors.items()))
        return {
            "profile": profile,
            "retraining": self.tags.get(RETRAINING),
            "commit": commit,
            "inputs": inputs,
            "steps": steps,
            "cost": self._cost(),
        }

    def _cost(self) -> Document:
        """Of all steps, and of those that no version before it had."""
        made = self.record(ASSET)
        own = Cost.of(made.metadata) if made else None
        found = of_version(self.registry, str(self.version.version), self.index, own)
        if found.unmeasured:
            self.unknown.append(f"what these steps cost: {', '.join(found.unmeasured)}")
        sums = {"all": found.all, "new": found.new}
        told = {name: {**cost.figures(""), "text": str(cost)} for name, cost in sums.items()}
        return {**told, "unmeasured": list(found.unmeasured)}


def _step(asset: str, md5: str | None, made: Version | None) -> Document:
    metadata = made.metadata if made else {}
    cost = Cost.of(metadata)
    known = made and {
        "when": as_text(made.when),
        "code": made.code,
        "commit": metadata.get("git_commit"),
        "dagster_run": made.run_id,
        "mlflow_run": metadata.get("mlflow_run_id"),
        "cost": cost.figures("") if cost else None,
        "config": metadata.get("config"),
    }
    return {"asset": asset, "md5": md5, "trained": asset in NETWORKS, **(known or {})}


def _part(part: Part) -> Document:
    about = part.model_dump(include={"name", "origin", "by", "license", "note"})
    return {name: value for name, value in about.items() if value}


def _is_in_model(part: Part, identity: Mapping[str, Any] | None) -> bool | None:
    """Whether a registered model carries these weights, as they are or trained on; None where nobody can tell."""
    if part.of([LANDMARKER]):
        return True
    if not part.backbone:
        return False
    if identity is None or "backbone" not in identity:
        return None
    return not identity.get("weights") and part.backbone in str(identity["backbone"]).split("+")


def _photo_set(one: Mapping[str, Any], figures: Mapping[str, Any]) -> Document:
    """One photo set of the configuration: what its publishers allow, and what it was used for."""
    name, kind, path = (str(one.get(key, "")) for key in ("name", "kind", "path"))
    terms = origins.load().terms(kind, path) or OWN_PHOTOS
    return {"name": name, "kind": kind, "split": one.get("split"), "faces": figures.get(name), "terms": terms}


def _is_list(path: str) -> bool:
    """Whether a file of data/photos is a list of a published set, or labels, and no photo."""
    return Path(path).suffix.lower() in source_files.LIST_ENDINGS


def _is_rows(name: str) -> bool:
    return name.startswith("rows_")
