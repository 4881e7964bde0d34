"""Which command reads which file: a case is a command over valid files of which one, an option or a server's answer was changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz.mutate import copy, mutate, some_text
from tests.fuzz.server import changing

CHECK = "check --data {at}/meds --model {at}/model"
TIMED = "check --data {at}/meds --model {at}/timed"
PATIENTS = "patients --data {at}/meds"
AUDIT = "audit {at}/plan.yaml --out {at}/new"
PROBE = "probe membership --data {at}/meds --model {at}/model --reference {at}/reference --patients {at}/people.txt --out {at}/found"
TIMED_PROBE = PROBE.replace("{at}/model", "{at}/timed").replace(" --reference {at}/reference", "")
TRAIN = "train --data {at}/meds --out {at}/trained --epochs 1 --minutes 0.01"
SERVE = "serve --model {at}/model"
EXPLORE = "explore --data {at}/meds --model {at}/model --no-browser"
APP = "app --data {at}/meds --model {at}/model --no-browser --host 127.0.0.1"
EXPLORABLE = "explorable --data {at}/meds --models {at}/model --patients 4 --out {at}/page.html"
RESULTS = (
    "audit-report {at}/results --out {at}/page.html", "compare {at}/results {at}/results --out {at}/page.html", "export {at}/results --out {at}/leaves",
    "letter {at}/results --out {at}/letter.html", "audit {at}/plan.yaml --out {at}/results",
)  # fmt: skip
REPORT = "report --data {at}/meds --model {at}/model --samples 16 --horizon 4 --attributes hiv --facts {at}/facts.yaml --out {at}/report.html"
SERVED = "check --data {at}/meds --model {server} --vocabulary {at}/vocabulary/map.json --token-scheme {at}/scheme.yaml"

READS: dict[str, tuple[str, ...]] = {
    "meds/data/0.parquet": (
        CHECK, PATIENTS, AUDIT, PROBE, TRAIN, "attributes --data {at}/meds --write {at}/draft.yaml", "check --data {at}/meds", EXPLORE, APP, EXPLORABLE,
    ),
    "meds/metadata/codes.parquet": (CHECK, PATIENTS, "attributes --data {at}/meds --write {at}/draft.yaml"),
    "meds/metadata/subject_splits.parquet": (CHECK, PATIENTS, AUDIT, TRAIN),
    "meds/metadata/dataset.json": (PATIENTS, CHECK, EXPLORABLE),
    "meds/ground_truth.parquet": (AUDIT, PROBE, CHECK),
    "model/config.json": (CHECK, SERVE, AUDIT, EXPLORE, EXPLORABLE),
    "model/model.safetensors": (CHECK, SERVE, PROBE, EXPLORABLE),
    "model/training.json": (CHECK, AUDIT, SERVE),
    "model/vocabulary.json": (CHECK, SERVE, TRAIN + " --vocabulary {at}/model", EXPLORABLE),
    "reference/config.json": (AUDIT,),
    "timed/config.json": (TIMED, TIMED, TIMED_PROBE),
    "timed/model.safetensors": (TIMED, TIMED_PROBE),
    "timed/vocabulary.json": (TIMED, TIMED_PROBE),
    "scheme.yaml": (
        SERVE + " --vocabulary {at}/vocabulary/map.json --token-scheme {at}/scheme.yaml",
        CHECK + " --vocabulary {at}/vocabulary/map.json --token-scheme {at}/scheme.yaml",
    ),
    "attributes.yaml": (CHECK + " --attribute-file {at}/attributes.yaml", PROBE + " --attribute-file {at}/attributes.yaml"),
    "plan.yaml": (AUDIT, AUDIT, "audit {at}/plan.yaml --out {at}/results"),
    "severity.yaml": (AUDIT,),
    "people.txt": (PROBE, EXPLORABLE.replace("4", "{at}/people.txt")),
    "facts.yaml": (REPORT,),
    "canaries.parquet": (PROBE.replace("membership", "exposure") + " --canaries {at}/canaries.parquet", CHECK + " --canaries {at}/canaries.parquet"),
    "sequences_with_ages.parquet": ("check --sequences {at}/sequences_with_ages.parquet --model {at}/timed",) * 2,
    "sequences.parquet": (
        "patients --sequences {at}/sequences.parquet --model {at}/model", "check --sequences {at}/sequences.parquet --model {at}/model",
    ),
    "sequences.jsonl": (
        "patients --sequences {at}/sequences.jsonl --model {at}/model", "check --sequences {at}/sequences.jsonl --model {at}/model --data {at}/meds",
    ),
    "codes.txt": ("workshop-results {at}/codes.txt --out {at}/class.html",),
    "report.json": ("letter {at}/report.json --out {at}/letter.html", "letter {at}/report.json --audience board --out {at}/letter.html"),
    "password.txt": (APP.replace("127.0.0.1", "0.0.0.0") + " --password-file {at}/password.txt",),
    "state/ehrmem/last_screen.json": ("forget", EXPLORE),
    "state/ehrmem/pseudonym.key": (PATIENTS, CHECK, AUDIT),
}  # fmt: skip
"""By file: the commands that read it."""
for _name in (
    "list.json",
    "map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "codes.txt",
    "codes.csv",
    "codes.tsv",
    "codes.parquet",
):
    READS[f"vocabulary/{_name}"] = (
        f"{CHECK} --vocabulary {{at}}/vocabulary/{_name}",
        f"{SERVE} --vocabulary {{at}}/vocabulary/{_name}",
    )
for _name in ("results.json", "audit.json", "severity.yaml", "plan.json"):
    READS[f"results/{_name}"] = RESULTS
_FINDING = "results/findings/membership"

SERVER, OPTION, SESSION = "a server's answers", "an option", "a session"


@dataclass(frozen=True)
class Case:
    """What was changed (a file of ``READS`` or of the results, or one of the other kinds), and the command in words."""

    what: str
    command: str

    @property
    def name(self) -> str:
        """The command's first word."""
        return self.command.split()[0]


def every_case(valid: Path) -> list[Case]:
    """Each file with each command that reads it, in an order in which files take turns."""
    reads = dict(READS)
    for path in sorted((valid / "results").rglob("*")):
        name = str(path.relative_to(valid))
        if path.is_file() and name not in reads and path.suffix:
            reads[name] = RESULTS
    for path in sorted((valid / "cache").rglob("*")):
        if path.is_file():
            reads[str(path.relative_to(valid))] = (PATIENTS, CHECK, "forget")
    files = [Case(what, command) for what, commands in reads.items() for command in commands]
    options = [Case(OPTION, one) for one in dict.fromkeys(case.command for case in files)]
    served = [
        Case(SERVER, SERVED),
        Case(SERVER, PROBE.replace("{at}/model", "{server} --vocabulary {at}/vocabulary/map.json")),
    ] * 20
    found = [*files, *options, *served]
    Random(0).shuffle(found)
    return found


@contextmanager
def made(
    case: Case, valid: Path, folder: Path, rng: Random, backend: tuple[str, str]
) -> Iterator[tuple[list[str], str]]:
    """The command's words, with the files that they name in the folder, and what was changed in words."""
    copy(valid, folder)
    how = ""
    words = case.command.split()
    if case.what == OPTION:
        words, how = _other_words(words, rng)
    elif case.what != SERVER:
        how = mutate(folder / case.what, rng)
    with changing(backend, rng) if case.what == SERVER else nullcontext("http://127.0.0.1:9") as server:
        yield [word.replace("{at}", str(folder)).replace("{server}", server) for word in words], how


_MORE = (
    "--json", "--debug=1", "--seed", "--patients", "--knowledge", "--port", "--token-scheme", "--endpoint", "--training-split", "--reference", "--workers",
    "--cluster", "--names", "--audience", "--language", "--population", "--screen", "--samples", "--vocabulary", "--data", "--model", "--out", "--write",
    "--max-size", "--epsilon", "--identifying",
)  # fmt: skip


def _other_words(words: list[str], rng: Random) -> tuple[list[str], str]:
    """The command line with a word changed, gone, doubled or added."""
    words, at = list(words), rng.randrange(1, len(words)) if len(words) > 1 else 0
    kind = rng.choice(("value", "value", "gone", "twice", "more", "more", "folder"))
    if kind == "value":
        words[at] = some_text(rng)
    elif kind == "gone":
        del words[at]
    elif kind == "twice":
        words.insert(at, words[at])
    elif kind == "folder":
        words[at] = rng.choice(
            ("{at}", "{at}/plan.yaml", "{at}/meds", "{at}/model", "{at}/results", "{at}/no/such/place", "/dev/null")
        )
    else:
        words += [rng.choice(_MORE), *([some_text(rng)] if rng.random() < 0.8 else [])]
    return [word.replace("\x00", "") for word in words], kind
