"""The benchmark of how the data stages grow, with a few rows."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import data as bench

pytestmark = pytest.mark.slow


def test_what_is_made_up_is_taken_for_aligned_and_new_photos_alone_are_aligned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligned = []
    align_one = bench.aligned_faces._align_one
    monkeypatch.setattr(
        bench.aligned_faces, "_align_one", lambda job, *others: aligned.append(job.photo.id) or align_one(job, *others)
    )
    bench.lay_out(tmp_path / "photos", range(30))
    bench.make_up(tmp_path, 30)
    assert len(aligned) == len(bench.faces())
    aligned.clear()
    bench.lay_out(tmp_path / "photos", range(30, 33))
    bench.align(tmp_path, 33)
    assert aligned == [f"photos/0000/{number:07d}.jpg" for number in range(30, 33)]
    bench.write_portraits(tmp_path, 40)
    bench.check(tmp_path, 33)


def test_a_line_says_what_a_million_rows_take_and_a_target_that_is_missed_is_shown_as_missed() -> None:
    rows = []
    for number in (1_000, 10_000, 100_000):
        figures = {"core_seconds": 2 + 0.01 * number, "peak_megabytes": 100 + 0.001 * number}
        rows.append({"rows": number, **dict.fromkeys(bench.STEPS, figures)})
    rows[-1]["aligned_faces"] = None
    document = {"rows": rows, "lines": bench.lines(rows)}
    line = document["lines"]["aligned_faces"]
    assert line["of_a_million"]["core_seconds"] == pytest.approx(10_002)
    assert line["of_a_million"]["peak_megabytes"] == pytest.approx(1_100) and line["off_the_line"] < 1e-9
    document["targets"] = bench.targets(document)
    reached = {target["target"].split(":")[0]: target["reached"] for target in document["targets"]}
    assert not reached["100 new photos among 100,000, as a share of the first alignment, at most 0.02"]
    text = StringIO()
    bench.show(document, Console(file=text, width=150))
    assert "missed" in text.getvalue() and "1,000,000 (by the lines)" in text.getvalue()
