"""Work over patients: an interrupted run is resumed to the same numbers; findings are written whole and read back."""

import json
import os

import numpy as np
import pytest

from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput, Damaged, Unavailable
from ehrmem_widgets.findings.finding import Finding, excluded_row, finding, patient_row, row
from ehrmem_widgets.probes.batching import Checkpoint, in_batches
from ehrmem_widgets.probes.people import NO_DATE
from ehrmem_widgets.statistics.intervals import Estimate
from tests.probes.same import same

RECORDS = [Record(i, f"P-{i}", (), None) for i in range(23)]


def ask(records):
    return [{"patient": r.pseudonym, "value": np.float64(1 / (r.patient_id + 3))} for r in records]


def work(checkpoint=None, progress=None, settings=None, what=ask):
    return in_batches(
        what, RECORDS, what="a test", settings=settings or {"a": 1}, checkpoint=checkpoint, progress=progress, at_once=5
    )


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [0, 5, 15, 20])
def test_a_broken_run_goes_on_where_it_was_and_ends_the_same(tmp_path, after):
    checkpoint, asked = Checkpoint(tmp_path / "kept"), []

    def stop(progress):
        if progress.done >= after:
            raise Stopped

    with pytest.raises(Stopped):
        work(checkpoint, stop)

    def remember(records):
        asked.extend(r.patient_id for r in records)
        return ask(records)

    assert work(checkpoint, what=remember) == work()
    assert asked == list(range(after, 23))  # nobody is asked twice


def test_what_another_run_kept_in_the_same_folder_is_not_taken_and_stays(tmp_path):
    first, second = Checkpoint(tmp_path / "kept"), Checkpoint(tmp_path / "kept")
    expected = work(first)
    assert work(second, settings={"a": 2}) == expected  # asked anew, to the same answers
    assert len(list((tmp_path / "kept").glob("*/*.parquet"))) == 10
    assert second.remove()  # something is left
    assert len(list((tmp_path / "kept").glob("*/*.parquet"))) == 5 and work(first, what=None) == expected
    assert not first.remove() and not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_be_used_is_refused_before_anything_is_asked(tmp_path):
    (tmp_path / "kept").write_text("of an earlier version")
    with pytest.raises(Damaged, match=r"is a file, not a folder of answers\. Remove it"):
        work(Checkpoint(tmp_path / "kept"), what=None)
    with pytest.raises(Unavailable, match="could not be made"):
        work(Checkpoint(tmp_path / "kept" / "below"), what=None)
    inside = Checkpoint(tmp_path / "a" / "b")
    with (
        inside.alone(),
        pytest.raises(BadInput, match="Another run keeps its answers"),
        Checkpoint(inside.folder).alone(),
    ):
        pass
    assert work(inside) == work() and not inside.remove()


def test_what_is_kept_is_for_this_users_eyes_only(tmp_path):
    work(Checkpoint(tmp_path / "kept"))
    kept = list((tmp_path / "kept").rglob("*"))
    assert len(kept) == 6 and all(os.stat(path).st_mode & 0o077 == 0 for path in (tmp_path / "kept", *kept))


def test_progress_tells_how_much_and_how_long(tmp_path):
    progress = []
    work(progress=progress.append)
    assert [p.done for p in progress] == [0, 5, 10, 15, 20, 23]
    assert progress[0].seconds_left is None and progress[-1].seconds_left == 0
    assert all(p.seconds_left > 0 for p in progress[1:-1])


def test_a_finding_is_written_whole_and_read_back(tmp_path):
    made = finding(
        "attribute",
        [
            row("auroc", Estimate(0.7, 0.6, 0.8, 40), group="member", p=0.01),
            patient_row("P-1", "leak", Estimate(0.2, 0.1, 0.3, 16)),
            excluded_row("P-2", NO_DATE),
            excluded_row("P-3", NO_DATE),
        ],
        {"seed": 3, "knowledge_levels": ["nothing"]},
        ["Memorized: yes."],
    )
    made.save(tmp_path / "f")
    back = Finding.load(tmp_path / "f")
    same(back, made)
    assert back.estimate("auroc", group="member") == Estimate(0.7, 0.6, 0.8, 40)
    assert back.exclusions == {NO_DATE.words: 2}
    assert "Left out: 2 (the record has no dated event)." in back.summary()
    assert os.stat(tmp_path / "f").st_mode & 0o077 == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


def test_what_is_no_finding_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_text(json.dumps({}))
    with pytest.raises(BadInput, match="not a finding"):
        Finding.load(tmp_path / "x.parquet")
    with pytest.raises(Unavailable, match="could not be written"):
        finding("p", [], {}, []).save(tmp_path / "nowhere" / "f")
