"""True and phantom disclosures: how many of the people it was trained on are recognizable in its outputs, and how many whom it never saw.

An output that fits somebody is no proof of memory: it may fit by chance. It is a true disclosure of somebody whom the model was trained on, a
phantom disclosure of somebody whom it never saw; only more of the former than of the latter tells of memory (Amin, Das, Epasto, Javanmard, Kraft,
Ribero and Vassilvitskii, Phantoms and Disclosures, arXiv 2606.16952). Outputs alone are needed: a model that only samples, or a file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.outputs_file import OutputsFile
from ehrmem_widgets.blackbox.protocol import Query, SlotIds
from ehrmem_widgets.blackbox.training_splits import trained_on
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.findings.finding import Exclusion, Finding, excluded_row
from ehrmem_widgets.probes.base import Probe, ProbeRun, Task
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.disclosures.judge import judged
from ehrmem_widgets.probes.disclosures.matching import KINDS, Matcher, known_without
from ehrmem_widgets.probes.leak import slot_ids
from ehrmem_widgets.probes.needs import CONTINUATIONS, PLANTED_CONTROL, PROMPTS, START
from ehrmem_widgets.probes.prompt_embeddings import continuations
from ehrmem_widgets.statistics.matches import matches_needed

NOTHING = "nothing"
NO_ROOM = Exclusion("no_room", "the facts known fill the model's context")


class Disclosures(ProbeRun):
    """``samples`` outputs for each person and knowledge level, of at most ``horizon`` codes, matched against the records of all who are asked
    about. With nothing known, outputs begin at the start code and are nobody's; else what is matched is what follows the known facts. A file of
    outputs is matched as it is, at the knowledge level "".

    Kinds of match (``attribute``): two rare codes of one record in one output; three codes in a row, one of them rare; four lab values in a row;
    a whole visit of four codes or more. What nobody else of those asked about holds counts, and only by codes that somebody else in training
    holds (``matching.known_without``). Of members and people never seen equally many are compared, the larger side cut at random.

    Figures by knowledge level and kind: ``people_matched`` of each group (Wilson); ``people_matched_difference``, members less people never seen
    (MOVER), with the exact p of exchanging people, Holm over kinds and knowledge levels, and the verdict; the same for "canaries" (trained on less
    never trained on), not adjusted, which are the positive control; ``to_training``, the share of those matched who were in training (Clopper and
    Pearson; .5 by chance); ``outputs_matched``: the share of outputs that match at least one member (true), one person never seen (phantom).
    Patient rows: ``matching_outputs``, in how many of n.
    """

    doing = "outputs"
    batch = 32
    needs = (CONTINUATIONS, PROMPTS, START, PLANTED_CONTROL)

    def __init__(self, probe: Probe, task: Task) -> None:
        super().__init__(probe, task)
        self._file = task.model if isinstance(task.model, OutputsFile) else None
        if self._file is not None:
            self.records, self.settings["knowledge_levels"] = (), []
            self.settings |= {"outputs": len(self._file.outputs), "unknown_codes": self._file.unknown}
            del self.settings["samples"], self.settings["horizon"]
            least = matches_needed(len(KINDS))
            if len(self._file.outputs) < least:
                raise BadInput(
                    f"{self._file.name} holds {len(self._file.outputs)} outputs, which can show nothing: at least {least} are needed, and as a rule hundreds."
                )
        elif Query.SAMPLE not in task.model.answers:
            raise CannotAnswer("The model gives no continuations, and outputs are what is looked at.")

    def ask(self, records: list[Record]) -> Rows:
        """The outputs of one batch, a row for each person and knowledge level; of whom there are none, why."""
        return [one for knowledge in self.task.knowledge_levels for one in self._at(knowledge, records)]

    def _at(self, knowledge: str, records: list[Record]) -> Rows:
        model, samples, seed = self.task.model, int(self.task.options["samples"]), self.task.seed
        horizon = int(self.task.options["horizon"])
        if knowledge == NOTHING:
            start = [[one] for one in model.vocabulary.ids(model.vocabulary.opening)]
            if not start:
                raise CannotAnswer(
                    "The model has no start code, so it cannot be asked where nothing is known. Leave 'nothing' out."
                )
            steps = min(horizon, model.context_length - len(start))
            drawn = _seed(seed, records[0].patient_id)
            codes, _ = continuations(model, [start], steps, samples * len(records), drawn)[0]
            parts: Sequence[np.ndarray] = np.split(codes, len(records))
            return [_row(record, knowledge, part) for record, part in zip(records, parts, strict=True)]
        prompts = [self._prompt(record, knowledge) for record in records]
        rooms = [min(horizon, model.context_length - len(prompt)) for prompt in prompts]
        rows: Rows = [
            {"patient": record.pseudonym, "knowledge": knowledge, "outputs": None}
            for record, room in zip(records, rooms, strict=True)
            if room < 1
        ]
        for room in sorted({room for room in rooms if room >= 1}):
            places = [place for place, its in enumerate(rooms) if its == room]
            found = continuations(model, [prompts[place] for place in places], room, samples, _seed(seed, 0))
            rows += [_row(records[place], knowledge, codes) for place, (codes, _) in zip(places, found, strict=True)]
        return rows

    def _prompt(self, record: Record, knowledge: str) -> SlotIds:
        vocabulary = self.task.model.vocabulary
        slots = slot_ids(build_prompt(record, facts_of_level(knowledge, record, vocabulary), vocabulary), vocabulary)
        if not slots:
            raise CannotAnswer(
                f"The knowledge level {knowledge!r} gives an empty prompt, and the model has no start code. Leave it out."
            )
        return slots

    def judge(self, answers: Rows) -> Finding:
        """Who is matched, by kind and knowledge level, and whether more of those in training are."""
        task, model = self.task, self.task.model
        matcher = Matcher(
            task.people.records, model.vocabulary, *known_without(task.dataset, model.vocabulary, trained_on(model))
        )
        outputs = (
            {"": list(self._file.outputs)} if self._file is not None else _by_level(answers, task.knowledge_levels)
        )
        left = [excluded_row(*one) for one in task.people.left_out]
        left += [
            excluded_row(one["patient"], NO_ROOM, knowledge=one["knowledge"])
            for one in answers
            if one["outputs"] is None
        ]
        found = {knowledge: matcher.matched(some) for knowledge, some in outputs.items()}
        return judged(self.probe.name, task, found, self.settings, left)


def _seed(seed: int, patient: int) -> int:
    return int(np.random.SeedSequence([seed, abs(patient), 9]).generate_state(1)[0])


def _row(record: Record, knowledge: str, codes: np.ndarray) -> dict[str, object]:
    written = [[int(code) for code in row if code >= 0] for row in codes]
    return {"patient": record.pseudonym, "knowledge": knowledge, "outputs": written}


def _by_level(answers: Rows, knowledge_levels: Sequence[str]) -> dict[str, list[list[int]]]:
    return {
        knowledge: [ids for one in answers if one["knowledge"] == knowledge for ids in one["outputs"] or ()]
        for knowledge in knowledge_levels
    }
