"""What players corrected, collected from the service into a table: checked, versioned by DVC, and forgettable.

The service keeps a row for each character whose player agreed (`LIKENESS_SERVE_CORRECTIONS`); a row is taken once the
character was not changed for a day. What was taken back since the last time is erased from every version of the table.
Nothing is trained on it unless the encoder's configuration says so (`encoder: {corrections: …}`).
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration import checks
from orchestration.checks import results
from orchestration.checks.context import CheckContext
from orchestration.config.catalog import COLLECTED
from orchestration.config.progress import Progress, into_log
from orchestration.config.settings import Settings
from orchestration.pipeline import daily
from orchestration.pipeline.materialize import ancestors, require_unchanged, stage_context
from orchestration.pipeline.retry_policy import RETRY_POLICY, only_transient_is_retried
from orchestration.storage import collected_rows, dagster_metadata
from orchestration.storage.collected_rows import ForgottenRows
from orchestration.storage.erasure_log import ErasureLog
from orchestration.storage.instance import keeping_files
from orchestration.storage.project import AssetRef, Graph, Project
from orchestration.storage.store import Store, StoreError
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import Version, git_commit
from serving.configuration import ServiceSettings
from serving.corrections import Correction, CorrectionStore

(STAGE,) = COLLECTED
NAME, JOB, SCHEDULE = STAGE.name, "collect_corrections", "daily_corrections"
WEIGHTS, DIRECTIONS = "model.safetensors", "features."
"""The file of an encoder, and the part of its names that says in which directions it reads a face."""
PLAYERS = "players, through the service"
BACKUP_TAKES = 3600.0
"""Seconds that a backup is waited for; what was not erased by then is at the next collection."""
SHOWN = 12
"""Sliders and groups that the asset's page shows of each version."""


def asset(graph: Graph) -> dg.AssetsDefinition:
    """The table of one character creator's corrections."""

    @dg.asset(
        name=NAME,
        deps=[dg.AssetDep("characters")],
        partitions_def=graph.characters,
        group_name=STAGE.group,
        kinds=set(STAGE.kinds),
        description=STAGE.description,
        check_specs=checks.specs(STAGE, graph.rules),
        metadata=dagster_metadata.code_of(NAME),
        retry_policy=RETRY_POLICY,
    )
    def collect(context: dg.AssetExecutionContext, progress: dg.ResourceParam[Any]) -> dg.MaterializeResult:
        shown = progress or into_log(context.log)
        with only_transient_is_retried(shown.show, attended=progress is not None):
            return materialize(graph.on(context.instance), context.partition_key, context.run_id, shown)

    return collect


def materialize(project: Project, character: str, run_id: str, progress: Progress) -> dg.MaterializeResult:
    """Erase what was taken back, collect what is final, check it, keep it. Raises StoreError, RemoteDown,
    AlreadyRunning.
    """
    settings = project.settings.model_copy(update={"character": character})
    progress.show(f"{NAME}  erases what was taken back; a backup that is at work is waited for")
    erase_withdrawn(settings, project.instance)
    project.observe("character", character)
    seen = project.latest("character", character)
    assert seen is not None, "it was observed a moment ago"
    config, versions = STAGE.code.Config(), {"character": seen}
    inputs = {"character": project.fetch("character", seen)}
    with tempfile.TemporaryDirectory() as given, project.store.writing(NAME, character) as draft:
        _give(Path(given), settings, project.instance)
        context = stage_context(settings, STAGE, Path(given), _nothing_tracked, progress)
        figures = STAGE.code.run({**inputs, "given": Path(given)}, config, draft.folder, context)
        require_unchanged(project, AssetRef(STAGE, character), versions, inputs)
    looked_at = CheckContext(
        STAGE, character, draft.md5, project.graph.rules, results.production_of(project, character),
        config.model_dump(mode="json"), figures, lambda: draft.folder, lambda: inputs["character"],
    )  # fmt: skip
    metadata = {
        **describe(draft.folder),
        **figures,
        "md5": draft.md5,
        "git_commit": git_commit(),
        "config": config.model_dump(mode="json"),
        "inputs": {name: version.md5 for name, version in versions.items()},
        "lineage": ancestors(versions),
        "collected from": PLAYERS,
    }
    return dg.MaterializeResult(
        data_version=dg.DataVersion(draft.md5), metadata=metadata, check_results=checks.run_all(looked_at)
    )


class _NothingTracked:
    """In the place of an MLflow run: its artifacts would have to be forgotten, too."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Nobody records."""


_nothing_tracked: Any = _NothingTracked()


def store_of(settings: Settings) -> CorrectionStore:
    """Where the services of this project keep the rows of the settings' character."""
    home = settings.home / "serving" / settings.character
    return CorrectionStore.of(ServiceSettings(), settings.character, home)


def erase_withdrawn(settings: Settings, instance: dg.DagsterInstance) -> int:
    """Erase what players took back from every version of the table; how many rows' characters they were.

    A backup that is being made is waited for: it would copy what is erased under it. Raises AlreadyRunning where it
    takes longer than `BACKUP_TAKES`, RemoteDown, OSError.
    """
    served = store_of(settings)
    ids = set(served.withdrawn())
    if not ids:
        return 0

    def delete_served() -> None:
        for id in ids:
            served.delete(id)

    with keeping_files(settings, BACKUP_TAKES):
        found = collected_rows.find(settings, VersionIndex(instance), (), ids)
        collected_rows.erase(settings, instance, found, "the players themselves", "consent withdrawn", delete_served)
    return len(ids)


def _give(folder: Path, settings: Settings, instance: dg.DagsterInstance) -> None:
    """The stage's input: rows that are final and not forgotten, and the directions of the encoders that read them."""
    known, rows = _Encoders(settings, instance, folder / "readers"), []
    for row in _final_rows(store_of(settings), ForgottenRows.of(ErasureLog(instance)), datetime.now(UTC).date()):
        if "unreadable" not in row:
            row["recogniser"] = known.add(row["encoder"], row["recogniser"])
        rows.append(row)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _final_rows(served: CorrectionStore, forgotten: ForgottenRows, today: date) -> Iterator[dict[str, Any]]:
    """Rows as the stage reads them. One that came back after it was forgotten is deleted."""
    for id, row in served.rows():
        if row is None:
            yield {"id": id, "unreadable": "the file cannot be read"}
        elif forgotten.has(id, row.player, row.day.isoformat()):
            served.delete(id)
        elif row.is_final(today):
            yield _row(row)


def _row(row: Correction) -> dict[str, Any]:
    # Whose key it was, and how long the character is kept, is the service's own business.
    return row.model_dump(mode="json", exclude={"owner", "changed", "expires"})


class _Encoders:
    """The directions in which encoders read faces, taken out of their weights by the md5 of their version."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, folder: Path) -> None:
        self.store, self.folder, index = Store.of(settings), folder, VersionIndex(instance)
        refs = index.refs("encoder")
        self.former = [ref.md5 for ref in index.refs(NAME) if ref.character == settings.character][:1]
        self.known = {ref.md5 for ref in refs if ref.character == settings.character}
        self.recognisers: dict[str, str] = {}
        folder.mkdir(parents=True)

    def add(self, encoder: str, recogniser: str) -> str:
        """Write an encoder's directions, where it is one of this character's and still to be had; the md5 of the
        recogniser's weights, "" where that is not known."""
        path = self.folder / f"{encoder}.safetensors"
        if encoder in self.known and not path.exists():
            try:
                self._write(encoder, path)
            except StoreError:
                self._take_over(encoder, path)
        if recogniser not in self.recognisers:
            self.recognisers[recogniser] = self._listing(recogniser).get(WEIGHTS, "")
        return self.recognisers[recogniser]

    def _take_over(self, encoder: str, path: Path) -> None:
        """From the table before, where the encoder itself was cleaned away."""
        for md5 in self.former:
            if oid := self._listing(md5).get(f"{collected_rows.READERS}{path.name}"):
                path.write_bytes(self.store.file(oid).read_bytes())
                return
        self.known.discard(encoder)

    def _listing(self, md5: str) -> dict[str, str]:
        """None of a version's files where its listing is gone."""
        try:
            return self.store.listing(md5) if md5 else {}
        except StoreError:
            return {}

    def _write(self, encoder: str, path: Path) -> None:
        from safetensors.numpy import save_file
        from safetensors.torch import load_file

        weights = load_file(self.store.file(self.store.listing(encoder)[WEIGHTS]))
        read = {name.removeprefix(DIRECTIONS): w.numpy() for name, w in weights.items() if name.startswith(DIRECTIONS)}
        save_file(read, path)


def describe(folder: Path) -> dict[str, Any]:
    """What Dagster shows of a version: how many rows, and what players correct on average. No row of anybody's."""
    from pyarrow import parquet

    found = json.loads((folder / "report.json").read_text())
    rows = {f"rows_{path.stem}": parquet.read_metadata(path).num_rows for path in sorted(folder.glob("*.parquet"))}
    schema = parquet.read_schema(folder / collected_rows.FILE)
    columns = [dg.TableColumn(column.name, str(column.type)) for column in schema]
    return {
        **({"corrections": dg.MetadataValue.md(markdown(found))} if found["versions"] else {}),
        **rows,
        "dagster/row_count": rows[f"rows_{NAME}"],
        "dagster/column_schema": dg.TableSchema(columns),
        "report": dg.MetadataValue.path(folder / "report.html"),
        **dagster_metadata.of_files(folder),
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The report in short: the sliders that are corrected farthest, and the choices that are changed most often."""
    from stages.evaluation.corrections import chosen_otherwise, moved_most
    from stages.evaluation.scores import interval, number

    lines: list[str] = []
    for version in found["versions"]:
        how = f", searched closer by {version['refined']}" if version["refined"] else ""
        lines += ["", f"**Version {version['version']}**{how}: {version['rows']} characters", ""]
        lines += ["| | mean correction or share | 95 % | changed it |", "|---|---|---|---|"]
        for name, slider in moved_most(version)[:SHOWN]:
            mean = slider["mean"]
            lines.append(f"| {name} | {number(mean['value'])} | {interval(mean['ci'])} | {slider['count']} |")
        for name, group in chosen_otherwise(version)[:SHOWN]:
            share, often = group["changed"], group["changes"][0]
            what = f"{name}: {often['from']} → {often['to']} ({often['count']})"
            lines.append(f"| {what} | {number(share['value'])} | {interval(share['ci'])} | {group['count']} |")
    return "\n".join(lines).strip()


def latest(project: Project, character: str) -> Version | None:
    """The table that was collected last."""
    return project.latest_of(AssetRef(STAGE, character))


def job(graph: Graph) -> dg.JobDefinition | Any:
    """Collects the corrections of one character creator, beside whatever else is being made."""
    return daily.job(graph, JOB, NAME, "Collect what players corrected, and erase what was taken back.")


def schedule(settings: Settings, graph: Graph, of_job: Any) -> dg.ScheduleDefinition:
    """Every day, once somebody switches it on."""
    about = "Collects what players corrected. LIKENESS_CORRECTIONS_CRON says when, and switches it on."
    return daily.schedule(settings, graph, of_job, SCHEDULE, settings.corrections_cron, "30 4 * * *", about)
