"""A draft of a file of sensitive attributes from a data set's own codes, for people to edit: what ``ehrmem attributes`` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ehrmem_widgets.cohort.codes import Kind, parse_code
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.statistics.disclosure import FEWEST

MOST_CODES = 200
"""Of a kind that are listed: those that most patients hold."""
_KINDS = {
    Kind.diagnosis: "Diagnoses",
    Kind.procedure: "Procedures",
    Kind.medication: "Drugs",
    Kind.laboratory: "Laboratory tests",
    Kind.other: "Codes of a kind that the kit does not know",
}
_HEAD = """\
# Sensitive attributes of {name}: a draft from its own codes. It names nothing yet: what is sensitive, and how severe, is for people to say.
#
# 1. Give the attribute below a name, a title, a severity and a reason. Copy the block for each further one.
# 2. Take the # away from the codes that give it away, and delete the others. A code stands for all that begin with it up to a "//".
# 3. Name the file wherever you name the data:
#      ehrmem check --data DIR --model MODEL --attribute-file THIS_FILE
#      attribute_file: THIS_FILE                                           (in a plan, and as the parameter of a notebook)
#
# Behind each code: its label, and how many of {people:,} patients hold it. Codes of fewer than {fewest} patients are not listed.
# {known}

attributes:
  - name: my_attribute            # an id, in lower case
    title: My attribute
    severity: 3                   # 1 (hardly matters) to 5 (worst)
    reason: Say here what it does to somebody when it is disclosed.
    sources: [who decided this, and when]
    codes:
      meds:
"""


def attribute_draft(dataset: MedsDataset) -> str:
    """The file as text: YAML that is valid as soon as one code is chosen. Codes that the declared attributes cover are not listed."""
    covered = dataset.attribute_codes
    known = [
        f"{dataset.attributes[name].title} ({len(codes)} codes)"
        for name, codes in covered.groupby("attribute", sort=False)
    ]
    words = (
        f"Declared already, with codes in these data: {', '.join(known)}."
        if known
        else "None of the attributes that the kit declares has a code in these data."
    )
    head = _HEAD.format(name=_in_a_comment(dataset.name), people=len(dataset), fewest=FEWEST, known=words)
    return head + "\n".join(_lines(dataset, set(covered["code"]))) + "\n"


def _lines(dataset: MedsDataset, covered: set[str]) -> Iterator[str]:
    codes = dataset.codes[(dataset.codes["patients"] >= FEWEST) & ~dataset.codes["code"].isin(covered)]
    codes = codes.assign(kind=[parse_code(code).kind for code in codes["code"]])
    for kind, words in _KINDS.items():
        of_kind = codes[codes["kind"] == kind].sort_values(["patients", "code"], ascending=[False, True])
        if of_kind.empty:
            continue
        more = f", the {MOST_CODES} that most patients hold of {len(of_kind):,}" if len(of_kind) > MOST_CODES else ""
        yield f"        # {words}{more}"
        for code, patients in of_kind[["code", "patients"]].head(MOST_CODES).itertuples(index=False):
            quoted, label = json.dumps(code), dataset.label(code)
            yield f"        # - {quoted}" + (
                f"  # {_in_a_comment(label)}; {patients:,}" if label != code else f"  # {patients:,}"
            )


def _in_a_comment(text: str) -> str:
    """Text of the data on one line, cut short: what ends a line would end the comment."""
    plain = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return plain if len(plain) <= 70 else f"{plain[:69]}…"
