"""A draft of attributes is data for people to edit: nothing in it is declared, nobody is singled out, and no label can break out of its comment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.attribute_draft import attribute_draft
from ehrmem_widgets.cohort.attributes import attributes_with
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.samples.folders import sample_data
from tests.cohort.meds import at, write


def test_a_chosen_code_makes_it_a_file_of_attributes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "own.yaml"
    assert main(["attributes", "--write", str(out)]) == 0 and "Choose codes in it" in capsys.readouterr().out
    text = out.read_text()
    with pytest.raises(BadInput, match="meds"):  # nobody has chosen yet
        attributes_with(out)
    dataset = MedsDataset(sample_data())
    holders = dataset.codes.set_index("code")["patients"]
    listed = re.findall(r'^        # - "([^"]+)"  # .*?([\d,]+)$', text, re.MULTILINE)
    assert len(listed) > 20 and not {code for code, _ in listed} & set(dataset.attribute_codes["code"])
    assert all(holders[code] == int(n.replace(",", "")) >= 11 for code, n in listed)
    code = next(code for code, _ in listed if code.startswith("DIAGNOSIS"))
    out.write_text(text.replace(f'        # - "{code}"', f'        - "{code}"'))
    found = attributes_with(out)["my_attribute"]
    assert found.severity == 3 and found.matches(code) == "code"
    assert main(["attributes", "--write", str(out)]) == 2 and "was not overwritten" in capsys.readouterr().err
    assert main(["attributes", "--write", str(tmp_path / "none" / "own.yaml")]) == 2


def test_labels_and_codes_of_the_data_stay_in_their_comments(tmp_path: Path) -> None:
    evil = "LAB//1\n  - name: x"
    rows = [(patient, at("2020-01-01"), code, 1.0) for patient in range(12) for code in (evil, "LAB//2")]
    rows.append((0, at("2020-01-01"), "LAB//rare", 1.0))
    root = write(
        tmp_path / "d", {"0.parquet": rows}, descriptions={"LAB//2": "Iron\nattributes: [1]\u2028x " + "y" * 300}
    )
    text = attribute_draft(MedsDataset(root))
    assert "None of the attributes that the kit declares has a code in these data." in text
    after = text[text.index("      meds:") :].splitlines()[1:]
    assert after and all(re.match(r" {8}# ", line) and len(line) < 200 for line in after)
    assert "rare" not in text
