"""The one HTML file in which small models answer live: opened from a disk or a stick, with the network off, and with nothing installed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ehrmem_widgets import __version__
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.training_splits import trained_on
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.explorable.lesson import CONTENT_STYLE, lesson_content, lesson_patients
from ehrmem_widgets.explorable.map import pack_map
from ehrmem_widgets.explorable.pack import MAX_BYTES, pack_model
from ehrmem_widgets.explorable.records import pack_patients, refuse_real_people
from ehrmem_widgets.files import write_whole
from ehrmem_widgets.probes.exploration import Exploration
from ehrmem_widgets.probes.people import choose_people
from ehrmem_widgets.samples.folders import example_patient

_HERE = Path(__file__).parent
_IMPORT = re.compile(r'^import (\{[^}]*\}|\w+) from "(\.\.?/(?:\w+/)?(\w+)\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
_WIDGET = re.compile(r"^export default \{ (\w+) \};\n", re.MULTILINE)
PATIENTS = 40
MOST_MODELS = 4
"""With the reference among them."""

_WORKER = "WORKER.serve(self);"
_PAGE = """const text = (one) => one.textContent;
const lesson = document.getElementById("lesson-content");
const source = new Blob([text(document.getElementById("worker"))], { type: "text/javascript" });
PAGE.begin({
  root: document.getElementById("page"),
  worker: new Worker(URL.createObjectURL(source)),
  texts: { patients: text(document.getElementById("patients")), models: [...document.querySelectorAll("script.model")].map(text) },
  kernels: new URLSearchParams(location.search).get("kernels") ?? undefined,
  lesson: lesson ? { root: document.getElementById("lesson"), text: text(lesson) } : undefined,
});"""


def bundle(name: str) -> str:
    """A module of this folder and all that it imports as one script, each as a constant that holds what it exports (WORKER for worker.js)."""
    made: dict[str, str] = {}

    def add(one: str, path: str) -> None:
        source = (_HERE / path).read_text(encoding="utf-8")
        for _, file, other in _IMPORT.findall(source):
            if other not in made:
                add(other, file)
        taken = _IMPORT.sub(lambda found: f"const {found[1].replace(' as ', ': ')} = {found[3].upper()};\n", source)
        exported = ", ".join([*_EXPORT.findall(source), *_WIDGET.findall(source)])
        code = _WIDGET.sub("", _EXPORT.sub("", taken))
        made[one] = f"const {one.upper()} = (() => {{\n{code}\nreturn {{ {exported} }};\n}})();\n"

    add(name, f"{name}.js")
    return _in_ascii('"use strict";\n' + "".join(made.values()))


def _in_ascii(script: str) -> str:
    """A script of ASCII alone: a browser decodes ten megabytes of it in a tenth of the time, and the page is blocked meanwhile."""
    return re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], script)


def make_page(
    out: Path,
    *,
    data: Path,
    models: Sequence[Path],
    reference: Path | None,
    patients: Sequence[str] | int = PATIENTS,
    max_bytes: int = MAX_BYTES,
    lesson: bool = False,
) -> int:
    """Write the file; its size in bytes.

    ``patients``: pseudonyms or ids, or how many are drawn (half of them members, with seed 0) beyond the planted ones that are shown first.
    ``lesson``: with the workshop's lesson, which is about people of the sample cohort.
    Raises BadInput for data that are not declared synthetic, more models than a page holds, a model that the page cannot run, and a page
    of more than ``max_bytes``.
    """
    if not 1 <= len(models) <= MOST_MODELS - (reference is not None):
        raise BadInput(
            f"A page holds 1 to {MOST_MODELS} models, the reference among them; got {len(models) + (reference is not None)}."
        )
    dataset = MedsDataset(data)
    refuse_real_people(dataset)
    folders = [*models, *([reference] if reference else [])]
    packed_models: list[str] = []
    for folder in folders:
        left = max_bytes - sum(map(len, packed_models))
        packed_models.append(_in_markup(json.dumps(pack_model(folder, left), separators=(",", ":"))))
    never = FolderModel(reference) if reference else None
    explorations = [Exploration(dataset, FolderModel(folder), never, folder=folder) for folder in models]
    first = lesson_patients() if lesson else []
    ids = _chosen(explorations[0], patients, first)
    packed = {**pack_patients(explorations, ids), "map": pack_map(explorations[0], ids)}
    script, worker = bundle("page") + _PAGE, bundle("worker") + _WORKER
    style = (_HERE / "page.css").read_text(encoding="utf-8") + (CONTENT_STYLE if lesson else "")
    template = Environment(
        loader=FileSystemLoader(_HERE), undefined=StrictUndefined, autoescape=True, keep_trailing_newline=True
    )
    text = template.get_template("page.html.j2").render(
        version=__version__,
        dataset=dataset.name,
        script=Markup(script), worker=Markup(worker), style=Markup(style),
        script_hash=_hash(script),
        lesson=Markup(_in_markup(json.dumps(lesson_content(), separators=(",", ":")))) if lesson else "",
        patients=Markup(_in_markup(json.dumps(packed, separators=(",", ":")))),
        models=[Markup(one) for one in packed_models],
    )  # fmt: skip
    text = text.encode("ascii", "xmlcharrefreplace").decode()
    size = len(text)
    if size > max_bytes:
        raise BadInput(
            f"The page would take {size / 1e6:.1f} MB, more than {max_bytes / 1e6:.1f} MB. Give fewer models or patients, or a larger --max-size."
        )
    write_whole({out: text})
    return size


def _chosen(exploration: Exploration, patients: Sequence[str] | int, before: Sequence[str] = ()) -> list[int]:
    dataset = exploration.dataset
    if not isinstance(patients, int):
        return list(dict.fromkeys(dataset.find(patient) for patient in patients))
    shown = [example_patient(dataset, trained_on(exploration.model)), *exploration.canaries[: patients // 8]]
    first = dict.fromkeys([*map(dataset.find, before), *shown])
    drawn = choose_people(dataset, exploration.model, exploration.reference, most=patients, canaries=False)
    return list(first | dict.fromkeys(drawn.groups))[: max(patients, len(before))]


def _in_markup(json_text: str) -> str:
    """JSON that cannot end the element it stands in."""
    return json_text.replace("<", "\\u003c")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
