"""Is a MEDS data set fit for an audit? A line a question, each with what was found and what to do."""

from __future__ import annotations

from datetime import datetime

from ehrmem_widgets.cohort.check import Check
from ehrmem_widgets.cohort.codes import parse_code
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.cohort.meds_files import parquet, shards_of
from ehrmem_widgets.cohort.oddities import oddities

FEWEST = 11
"""Counts of 1 to 10 patients with a sensitive attribute are not shown (methods, section 4, T6)."""

_SAMPLE = 2_000  # patients looked at one by one
_FEWEST_EVENTS = 5  # records with fewer are alike by chance
_MOST = 0.9  # what most events or patients should have
_TITLED = ("ICD9CM", "ICD10CM", "ICD9Proc", "ICD10PCS")  # coding systems whose titles this kit brings


def check_data(dataset: MedsDataset, *, member_split: str = MEMBER_SPLIT) -> list[Check]:
    """All checks of a data set; ``member_split`` is the split that the audited model was trained on.

    Takes seconds, and for 10^8 events about half a minute: nearly all is counted over everybody, in bounded memory; the rest over
    a sample whose size is said.
    """
    events = _events(dataset)
    if events.level == "fail":
        return [events]
    return [
        events,
        _reading(dataset),
        _splits(dataset, member_split),
        _labels(dataset),
        _values(dataset),
        _births(dataset),
        _dates(dataset),
        _attributes(dataset),
        _same_records(dataset, member_split),
        _doubled_events(dataset),
        *oddities(dataset),
    ]


def _events(dataset: MedsDataset) -> Check:
    codes = dataset.codes
    words = f"{dataset.name}: {codes['events'].sum():,} events of {len(dataset):,} patients, {len(codes):,} codes."
    if len(dataset):
        return Check("Events", "pass", words)
    return Check("Events", "fail", words, "Give the folder whose data/**/*.parquet holds the events.")


def _reading(dataset: MedsDataset) -> Check:
    shards = len(shards_of(dataset.root))
    index = dataset.index
    if index is None:
        return Check(
            "Reading", "pass", f"{shards:,} files, read where they lie; a data set of this size needs no index."
        )
    kept = sum(path.stat().st_size for path in index.folder.iterdir()) / 1e9
    why = (
        "with a copy of the events sorted by patient, since the files are not sorted or too many to look through"
        if index.sorted_copy
        else "without a copy of the events, since the files are sorted by patient"
    )
    return Check(
        "Reading",
        "pass",
        f"{shards:,} files. Their index took {index.seconds:,.0f} s to make and is kept in {str(index.folder)!r} "
        f"({kept:.1f} GB, readable by you alone), {why}.",
        "Remove that folder when the audit is over: it holds data of patients.",
    )


def _splits(dataset: MedsDataset, member_split: str) -> Check:
    """Who was trained on, who was not, and whether the table of splits says so of everybody, and once."""
    path = dataset.root / "metadata" / "subject_splits.parquet"
    write = "Write metadata/subject_splits.parquet with subject_id and split"
    if not dataset.splits:
        return Check(
            "Splits",
            "warn",
            "Nothing says who was trained on: metadata/subject_splits.parquet is missing or empty.",
            f"{write}, {member_split!r} for those in training. Without it there is no verdict on membership and no control.",
        )
    sizes = {split: len(dataset.ids(split)) for split in dataset.splits}
    words = "; ".join(f"{split}: {n:,}" for split, n in sizes.items())
    without = len(dataset) - sum(sizes.values())
    words = f"Patients with events by split: {words}{f'; in none: {without:,}' if without else ''}."
    if not sizes.get(member_split):
        return Check(
            "Splits",
            "fail",
            f"{words} Nobody is in {member_split!r}, so those in training would be taken for strangers.",
            f"{write}, {member_split!r} for those in training, with the ids that the events have.",
            stops="members",
        )
    twice = _count(
        dataset,
        f"SELECT count(*) FROM (SELECT subject_id FROM {parquet(path)} WHERE split IS NOT NULL GROUP BY subject_id "
        "HAVING count(DISTINCT split) > 1)",
    )
    absent = sum(dataset.splits.values()) - sum(sizes.values())
    todo = []
    if twice:
        words += f" {twice:,} are in more than one split and count as {MEMBER_SPLIT!r} where one of them is, else as the first by name."
        todo.append("Ask which split is right for those in two.")
    if absent:
        words += f" {absent:,} named in the splits have no events."
        todo.append("Ask why some have no events, if they are many.")
    if without:
        todo.append("Those in no split count as never seen by the model: make sure that they were not.")
    if len(dataset) == sizes[member_split]:
        todo.append(
            "There is nobody whom the model has not seen: add some held-out patients, or no verdict has a control."
        )
    return Check("Splits", "warn" if todo else "pass", words, " ".join(todo))


def _labels(dataset: MedsDataset) -> Check:
    codes = dataset.codes
    named = [code in dataset.descriptions or parse_code(code).system in _TITLED for code in codes["code"]]
    share = codes["events"][named].sum() / codes["events"].sum()
    words = f"{share:.0%} of the events have a code with a label, from metadata/codes.parquet or the ICD."
    if share >= 0.5:
        return Check("Labels", "pass", words)
    return Check(
        "Labels",
        "warn",
        words,
        "Add code and description to metadata/codes.parquet: without it people read bare codes, and drugs and tests that hint at "
        "a sensitive attribute are recognized by their code alone.",
    )


def _values(dataset: MedsDataset) -> Check:
    codes = dataset.codes
    with_values = int((codes["values"] > 0).sum())
    share = codes["values"].sum() / codes["events"].sum()
    words = f"{share:.0%} of the events have a numeric value, those of {with_values:,} codes."
    if with_values:
        return Check("Values in the data", "pass", words)
    return Check(
        "Values in the data",
        "warn",
        words,
        "If the model was trained on values, fill the column numeric_value with finite numbers; otherwise nothing is to be done.",
    )


def _births(dataset: MedsDataset) -> Check:
    share = _count(dataset, "SELECT count(birth) FROM patients") / len(dataset)
    words = f"{share:.0%} of the patients have a date of birth (code MEDS_BIRTH)."
    if share >= _MOST:
        return Check("Births", "pass", words)
    return Check(
        "Births",
        "warn",
        words,
        "Add MEDS_BIRTH events, or ages are left out of what the attacker knows and of subgroups.",
    )


def _dates(dataset: MedsDataset) -> Check:
    """Dates that cannot be: before birth, before medicine was recorded so, and some, but not all, in the future."""
    n = len(dataset)
    first, last, undated, early, old, future = dataset.query(
        "SELECT min(first), max(last), count(*) FILTER (first IS NULL), count(*) FILTER (CAST(first AS DATE) < CAST(birth AS DATE)), "
        "count(*) FILTER (year(first) < 1900), count(*) FILTER (last > ?) FROM patients",
        [datetime.now()],
    ).fetchall()[0]
    if undated == n:
        return Check("Dates", "fail", "No event has a date.", "Fill the column time: null is for static facts only.")
    words = f"Events are dated {first:%Y-%m} to {last:%Y-%m}."
    todo = []
    if undated:
        words += f" Patients without a dated event, who are left out: {undated:,} of {n:,}."
    if undated > n * (1 - _MOST):
        todo.append("Ask why so many have no dated event.")
    if early:
        words += f" Patients with events before their birth: {early:,}."
        todo.append("Ask how dates of birth were made; such patients count as aged 0.")
    if old:
        words += f" Patients with events before 1900: {old:,}."
        todo.append("Ask whether dates before 1900 stand for unknown ones; those should be null.")
    if future and future < n / 2:
        words += f" Patients with events in the future: {future:,}."
        todo.append("Ask about the dates in the future.")
    elif future:
        words += " Most lie in the future, as where dates were shifted to protect patients."
    return Check("Dates", "warn" if todo else "pass", words, " ".join(todo))


def _attributes(dataset: MedsDataset) -> Check:
    matched = dataset.attribute_codes.query("role == 'code'")
    rows = dataset.query(
        "WITH held AS (SELECT unnest(?::VARCHAR[]) AS code, unnest(?::VARCHAR[]) AS attribute) "
        "SELECT attribute, count(DISTINCT patient_id) FROM events JOIN held USING (code) GROUP BY attribute",
        [matched["code"].tolist(), matched["attribute"].tolist()],
    ).fetchall()
    held = dict(rows)
    titles = {name: one.title for name, one in dataset.attributes.items() if one.own_value is None}
    found = [
        f"{title}: {f'{held[name]:,}' if held[name] >= FEWEST else f'fewer than {FEWEST}'}"
        for name, title in titles.items()
        if name in held
    ]
    missing = [title for name, title in titles.items() if name not in held]
    if not found:
        return Check(
            "Sensitive attributes in the data",
            "warn",
            "No code of any declared sensitive attribute occurs.",
            "'ehrmem attributes --data DIR --write own.yaml' lists the codes of the data for you to choose from; --attribute-file names that file.",
        )
    words = f"Patients who hold a code of each: {'; '.join(found)}."
    return Check(
        "Sensitive attributes in the data",
        "pass",
        words + (f" Held by nobody: {', '.join(missing)}." if missing else ""),
    )


def _same_records(dataset: MedsDataset, member_split: str) -> Check:
    """Patients whose events are all the same as another's, by a 64-bit hash of each event, summed."""
    same, astride = dataset.query(
        """
        WITH sums AS (SELECT patient_id, count(*) AS n, sum(hash(time, code, value)::HUGEINT) AS total
                      FROM events GROUP BY patient_id HAVING n >= ?),
             alike AS (SELECT count(*) AS people, count(*) FILTER (split = ?) AS members
                       FROM sums LEFT JOIN splits USING (patient_id) GROUP BY n, total HAVING people > 1)
        SELECT coalesce(sum(people), 0), coalesce(sum(people - members) FILTER (members > 0), 0) FROM alike
        """,
        [_FEWEST_EVENTS, member_split],
    ).fetchall()[0]
    words = (
        f"{same:,} patients have the very same events as another under a different id"
        if same
        else "No two patients have the very same events"
    )
    words += f" (all with {_FEWEST_EVENTS} or more compared)."
    if not same:
        return Check("Duplicated records", "pass", words)
    if astride:
        words += (
            f" {astride:,} of them are not in {member_split!r} while their double is: the model has seen their record."
        )
    return Check(
        "Duplicated records",
        "warn",
        words,
        "Ask whether one person has several ids. Doubles across splits make held-out patients look memorized: leave them out.",
    )


def _doubled_events(dataset: MedsDataset) -> Check:
    """Patients each of whose events is there twice: the data, or some of them, were put together from two copies."""
    n, doubled = dataset.query(
        """
        WITH rows AS (SELECT patient_id, count(*) AS times FROM events WHERE patient_id IN (SELECT unnest(?::BIGINT[]))
                      GROUP BY patient_id, time, code, value),
             people AS (SELECT min(times) AS times FROM rows GROUP BY patient_id HAVING count(*) >= ?)
        SELECT count(*), count(*) FILTER (times > 1) FROM people
        """,
        [dataset.some_ids(_SAMPLE), _FEWEST_EVENTS],
    ).fetchall()[0]
    words = f"{doubled:,} of {n:,} patients looked at have every event twice or more."
    if not doubled:
        return Check("Doubled events", "pass", words)
    return Check(
        "Doubled events",
        "warn",
        words,
        "Look for shards that hold the same patients, for example one data set exported twice, and keep one of them.",
    )


def _count(dataset: MedsDataset, sql: str) -> int:
    return int(dataset.query(sql).fetchall()[0][0])
