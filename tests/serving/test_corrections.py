"""Rows of what players changed: what is kept, until when, and who may take it back."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.character_store import Caller, UnknownCharacter, new_id
from serving.comparisons import Served
from serving.corrections import Correction, CorrectionStore, Values, digest_of_player, encode_features
from tests.clock import stop_clock

TODAY = datetime.now(UTC).date()


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays TODAY, also where the tests run over midnight."""
    stop_clock(monkeypatch, TODAY, "serving.corrections")


def row(changes: Mapping[str, Any] | None = None, **about: Any) -> Correction:
    """A row of a character of two sliders and a group, with these changes of its document."""
    before: dict[str, Any] = {"parameters": {"nose": 0.4, "jaw": 0.5}, "discrete": {"hair": "short"}}
    after = None if changes is None else Values(**{name: {**before[name], **changes.get(name, {})} for name in before})
    given: dict[str, Any] = {
        "id": new_id(), "owner": "game", "consent": True, "day": TODAY, "changed": TODAY, "character": "embedded",
        "version": Served(version=1, run="0" * 32), "schema_md5": "0", "before": Values(**before), "after": after,
        "features": encode_features(np.zeros(4)),
    }  # fmt: skip
    return Correction(**{**given, **about})


def document(**changes: float) -> dict[str, Any]:
    return {
        "parameters": {"nose": 0.4, "jaw": 0.5, **changes},
        "discrete": {"hair": {"choice": "short", "probabilities": {"short": 1.0}}},
    }


def test_a_row_holds_how_the_character_was_left_and_none_where_all_was_changed_back(tmp_path: Path) -> None:
    store, one = CorrectionStore(tmp_path), row()
    store.add(one)
    for nose in (0.5, 0.6, 0.7):
        store.change(one.id, document(nose=nose))
    kept = store.get(one.id, Caller("game"))
    assert kept.after is not None and kept.after.parameters["nose"] == 0.7 and kept.before == one.before
    assert not kept.is_final(TODAY) and kept.is_final(TODAY + timedelta(days=1))
    store.change(one.id, document())
    assert store.get(one.id, Caller("game")).after is None
    assert not store.get(one.id, Caller("game")).is_final(TODAY + timedelta(days=9))
    store.change(new_id(), document(nose=1.0))
    assert [id for id, _ in store.rows()] == [one.id], "nobody agreed to keep the other"


def test_the_file_tells_no_more_of_the_time_than_the_day(tmp_path: Path) -> None:
    store, one = CorrectionStore(tmp_path), row()
    store.add(one)
    modified = datetime.fromtimestamp(store.path(one.id).stat().st_mtime, UTC)
    assert (modified.hour, modified.minute, modified.second) == (12, 0, 0)
    assert ":" not in json.loads(store.path(one.id).read_text())["day"]


def test_only_whose_it_is_takes_it_back_and_the_pipeline_is_told(tmp_path: Path) -> None:
    store, one = CorrectionStore(tmp_path), row({"parameters": {"nose": 0.9}})
    store.add(one)
    with pytest.raises(UnknownCharacter):
        store.get(one.id, Caller("another game"))
    assert not store.withdraw(one.id, Caller("another game")) and not store.withdraw("../../etc/passwd", Caller("game"))
    assert store.withdraw(one.id, Caller("game")) and not store.withdraw(one.id, Caller("game"))
    assert list(store.rows()) == [] and store.withdrawn() == [one.id]
    store.change(one.id, document(nose=0.1))
    assert list(store.rows()) == [], "an edit that comes late brings nothing back"
    store.delete(one.id)
    assert store.withdrawn() == []


def test_what_was_never_changed_goes_with_its_character_and_a_change_stays(tmp_path: Path) -> None:
    store, long_ago = CorrectionStore(tmp_path), TODAY - timedelta(days=8)
    rows = [row(), row(day=long_ago), row({"parameters": {"nose": 0.9}}, day=long_ago)]
    rows += [row(day=long_ago, expires=TODAY), row(expires=TODAY - timedelta(days=1))]
    for each in rows:
        store.add(each)
    assert store.delete_unchanged(timedelta(days=7)) == 2
    assert {id for id, _ in store.rows()} == {rows[0].id, rows[2].id, rows[3].id}, (
        "as was promised, where that is known"
    )


def test_a_file_that_is_none_is_told_apart(tmp_path: Path) -> None:
    store, one = CorrectionStore(tmp_path), row()
    store.add(one)
    store.path(one.id).write_text("{}")
    assert list(store.rows()) == [(one.id, None)]


def test_a_players_id_is_kept_as_its_digest() -> None:
    assert digest_of_player("") == "" and digest_of_player("ann@example.com") == digest_of_player("ann@example.com")
    assert "ann" not in digest_of_player("ann@example.com") and len(digest_of_player("a")) == 32
    assert row(day=date(2026, 1, 1)).day.isoformat() == "2026-01-01"
