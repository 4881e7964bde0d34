"""What other people's records hold as well, and what comes back net of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.reconstruction.templates import Templates
from ehrmem_widgets.probes.sequence_distance import Comparer
from ehrmem_widgets.tokens.vocabulary import Vocabulary

GAP = "TIME//1"
VOCABULARY = Vocabulary(("[BOS]", "[EOS]", GAP, *"ABCDEFGH"), start="[BOS]", stops=frozenset({"[EOS]"}), pad=None)
COMPARER = Comparer(VOCABULARY, np.eye(len(VOCABULARY)), {"E", "F"}, ())


def data_set(root: Path, records: dict[int, list[str]]) -> MedsDataset:
    """Each text is a day's codes."""
    rows = [
        (patient, datetime(2020, 1, 1 + day), code, None)
        for patient, days in records.items()
        for day, codes in enumerate(days)
        for code in codes
    ]
    (root / "data").mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value"])
    table.astype({"numeric_value": "float32"}).to_parquet(root / "data" / "0.parquet")
    return MedsDataset(root)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MedsDataset:
    others = {patient: ["H"] for patient in range(30)}
    others[1], others[2] = ["ABC"], ["H", "ABC"]  # a run of three in two records
    others[3], others[4] = ["DEFG"], ["GFED"]  # an order set in two records, in another order
    others[5] = ["EAH"]  # a run that one person alone holds
    return MedsDataset(data_set(tmp_path_factory.mktemp("meds"), others | {100: ["ABCEAH"], 101: ["EDGF"]}).root)


def masked(templates: Templates, dataset: MedsDataset, patient: int, *codes: str) -> str:
    found = templates.mask(dataset.record(patient), VOCABULARY.ids(codes))
    return "".join("x" if one else "." for one in found)


def test_a_code_is_template_where_two_other_people_hold_its_run_or_order_set(dataset: MedsDataset) -> None:
    templates = Templates(dataset, np.arange(30), VOCABULARY, COMPARER)
    assert masked(templates, dataset, 100, *"ABCEAH", "[EOS]") == "xxx..."
    assert masked(templates, dataset, 100, "A", GAP, "B", "C", "E") == "xxx."  # a run goes on over gaps
    assert masked(templates, dataset, 101, *"EDGF") == "xxxx"  # the order of an order set does not matter
    assert masked(templates, dataset, 101, "E", "D", GAP, "G", "F") == "...."  # another set at either moment


def test_whoever_is_asked_about_does_not_count(dataset: MedsDataset) -> None:
    templates = Templates(dataset, np.arange(30), VOCABULARY, COMPARER)
    assert masked(templates, dataset, 1, *"ABC") == "..."  # one other person holds it
    assert masked(templates, dataset, 5, *"ABC") == "xxx"  # two other people do


def test_too_few_people_never_seen_give_no_templates(dataset: MedsDataset) -> None:
    with pytest.raises(ValueError, match="18 people never seen; at least 19"):
        Templates(dataset, np.arange(18), VOCABULARY, COMPARER)


def test_what_comes_back_is_counted_gross_and_net() -> None:
    truth, template = VOCABULARY.ids("ABCDEF"), np.array([True, True, True, False, False, False])
    rows = ["ABCDEF", "ABCHHH", "HCDEFH", "HEHHHH", "FHHHHH"]
    found = COMPARER.compare(truth, np.array([VOCABULARY.ids(row) for row in rows]), template)
    assert found["recited"] == pytest.approx([1, 0.5, 4 / 6, 0, 0])
    assert found["recited_net"] == pytest.approx([0.5, 0, 0.5, 0, 0])
    assert found["template_share"] == pytest.approx([0.5, 1, 0.25, np.nan, np.nan], nan_ok=True)
    assert found["rare_overlap_1"].tolist() == found["rare_net_1"].tolist() == pytest.approx([1, 0, 1, 0.5, 0.5])
    net = COMPARER.compare(truth, np.array([truth]), ~template)
    assert net["rare_net_1"] == [0] and net["recited_net"] == [0.5]
    assert "recited" not in COMPARER.compare(truth, np.array([truth]))
