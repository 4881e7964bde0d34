"""The checks of a model on a data set, one line per check, each with what to do: what ``ehrmem check`` prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

import numpy as np

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.checks import (
    LEAST_KNOWN,
    UnknownCodes,
    check_codes_in_place,
    check_has_learned,
    check_looks_back_only,
    is_same_model,
    sample_sequences,
    unknown_codes,
)
from ehrmem_widgets.blackbox.mean_reference import models_of
from ehrmem_widgets.blackbox.opening import (
    check_asked_alike,
    check_named_splits,
    check_training_split,
    open_audited,
    open_reference,
    open_sequences,
    with_labels_and_edges,
)
from ehrmem_widgets.blackbox.protocol import BlackBox, Query, hidden_as_guessed
from ehrmem_widgets.blackbox.training_splits import NOBODY, REFERENCE_SPLIT, seen_by, trained_on
from ehrmem_widgets.cohort.check import Check, Stops
from ehrmem_widgets.cohort.data_checks import check_data
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.errors import EhrmemError
from ehrmem_widgets.sources import Sources, option
from ehrmem_widgets.statistics.discrimination import mean_with_interval
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.token_scheme import NONE
from ehrmem_widgets.tokens.vocabulary import Vocabulary

Opened = TypeVar("Opened")
WELL_KNOWN = 0.9  # the share of events that a model should know
_NAMED = 3  # codes of many that are named
_HIDDEN_OF = 100  # records in which hidden codes are counted
_LENGTHS_OF = 200  # records whose length is looked at
_SAMPLES, _STEPS = 32, 16  # continued to see how fast the model is
_LIFE = 36_525  # days
_ANSWER = 2 * (128 + 1024 + 40 * 8) * 64  # codes generated for a settled answer of the main screen, at most
_COHORT = 400
_CODES = 64  # of each record: a served model answers code by code
_TO_MEDS = "docs/to_meds.md (From your data to MEDS) has commands for MIMIC-IV, OMOP, FHIR, eICU and CEHR-BERT data."
_FIRST, _PREFIXES = 20, 20  # codes of a prompt, and records whose prompts are looked at


Looked = tuple[MedsDataset, BlackBox | None, BlackBox | None]
"""What was opened: the data, the model and the reference model."""


def every_check(sources: Sources) -> Generator[Check, None, Looked | None]:
    """Every check, in the order in which a failure explains the next: the model opens (where one is named), its codes, the data, how they fit,
    what the model says. Nothing raises BadInput: it becomes a line that fails. Returns what was opened, None where data or model were not."""
    named = bool(sources.model or sources.endpoint)
    model = (yield from _opened("Model opens", lambda: open_audited(sources))) if named else None
    if model is not None:
        yield from check_vocabulary(model)
    dataset = yield from _opened("Data open", lambda: _open_data(sources, model), todo=_TO_MEDS)
    if dataset is not None:
        split = (model and model.training_split) or sources.training_split or MEMBER_SPLIT
        yield from check_data(dataset, member_split=split)
    if dataset is None or (named and model is None):
        return None
    if model is None:
        return dataset, None, None
    return (yield from _with_model(sources, model, dataset))


def _with_model(sources: Sources, model: BlackBox, dataset: MedsDataset) -> Generator[Check, None, Looked]:
    if dataset.splits:
        yield _members_line(model, dataset, sources)
    model.vocabulary = with_labels_and_edges(model.vocabulary, dataset, trained_on(model))
    yield from check_model(model, dataset)
    if not sources.reference:
        yield Check(
            "Reference model", "warn",
            "There is no reference model: members are compared with people never seen alone. A record that is unusually easy to predict looks like "
            "memory then.",
            "Name one with --reference: a model of the same kind, trained on other patients. 'ehrmem train --split tuning "
            "--vocabulary MODEL' makes a small one.",
        )  # fmt: skip
        return dataset, model, None
    reference = yield from _opened("Reference opens", lambda: open_reference(sources, model), stops="reference")
    if reference is not None:
        reference.vocabulary = with_labels_and_edges(reference.vocabulary, dataset, trained_on(model))
        yield from check_reference(reference, model, dataset)
    return dataset, model, reference


def _members_line(model: BlackBox, dataset: MedsDataset, sources: Sources) -> Check:
    """Who counts as a member, and from where that is known."""
    split = trained_on(model)
    try:
        check_named_splits(sources, dataset)
        check_training_split(model, dataset)
    except EhrmemError as error:
        return Check("Members", "fail", str(error))
    name_it = f"name the split that it was trained on with {option('training_split')}."
    if split not in dataset.splits:
        return Check(
            "Members", "fail",
            f"Nothing says on whom the model was trained, and the data set has no split {split!r} (it has {', '.join(dataset.splits)}).",
            f"{name_it[:1].upper()}{name_it[1:]}", "members",
        )  # fmt: skip
    words = f"{len(dataset.ids(split)):,} patients count as members: those of the split {split!r}, "
    if model.training_split is None:
        return Check(
            "Members", "warn", f"{words}which is supposed: nothing says on whom the model was trained.",
            f"If it was not trained on them, {name_it}",
        )  # fmt: skip
    return Check(
        "Members",
        "pass",
        f"{words}as {option('training_split') if sources.training_split else 'its training.json'} says.",
    )


def check_vocabulary(model: BlackBox) -> Iterator[Check]:
    """What is known of the model's codes and of how it writes records."""
    vocabulary, token_scheme = model.vocabulary, model.vocabulary.token_scheme
    yield Check(
        "Vocabulary", "pass",
        f"{len(vocabulary):,} ids, {vocabulary.without_a_code:,} of them without a code; at most {model.context_length:,} codes are "
        "read at once.",
    )  # fmt: skip
    declared = "guessed from the codes" if vocabulary.token_scheme_guessed else "declared"
    words = f"{token_scheme.name}, {declared}."
    if token_scheme.name == NONE.name and vocabulary.token_scheme_guessed:
        words = "None of the published ones fits these codes."
    yield Check(
        "Token scheme", "warn" if vocabulary.token_scheme_guessed else "pass", words,
        "Read the next lines. If they are right, nothing needs to be done; 'ehrmem check --write-token-scheme token_scheme.yaml' writes it "
        "down for you to change, and --token-scheme names it." if vocabulary.token_scheme_guessed else "",
    )  # fmt: skip
    start = ", ".join(vocabulary.opening) or "none"
    yield Check(
        "Start and end", "pass" if vocabulary.opening and vocabulary.end else "warn",
        f"A sequence starts with {start} and ends with {vocabulary.end or 'nothing'}; stops are "
        f"{', '.join(sorted(vocabulary.stops)) or 'none'}; padding is {vocabulary.pad or 'no code'}.",
        "" if vocabulary.opening else "Without a start code the attacker must know at least one fact. Name it in the token scheme if there is "
        "one.",
    )  # fmt: skip
    yield from _check_bos(model)
    yield _time_line(vocabulary)
    yield _value_line(vocabulary)


def _check_bos(model: BlackBox) -> Iterator[Check]:
    number = getattr(model, "configured_start", None)
    codes = model.vocabulary.codes
    if number is None or not 0 <= number < len(codes) or codes[number] in model.vocabulary.special:
        return
    if codes[number].startswith("["):
        return
    yield Check(
        "Configured start", "warn",
        f"config.json says bos_token_id = {number}, which is the code {codes[number]}: a default that means nothing. It is not used.",
    )  # fmt: skip


def _time_line(vocabulary: Vocabulary) -> Check:
    gaps = vocabulary.gap_codes
    if gaps and vocabulary.gap_rule:
        first, last = (f"{code} ({vocabulary.gap_rule.label(code)})" for code in (gaps[0], gaps[-1]))
        words = f"{len(gaps)} gap codes, from {first} to {last}."
    elif vocabulary.timed:
        words = (
            "The model is told the age in days beside each code and says when the next one comes: horizons are in days."
        )
    else:
        words = "No code says that time passes, so dates known to an attacker change nothing."
    if vocabulary.ages:
        words += f" {len(vocabulary.ages)} codes of ages, {next(iter(vocabulary.ages))} first."
    elif vocabulary.token_scheme.birth:
        words += f" The age is the gap after {vocabulary.token_scheme.birth}."
    elif not vocabulary.timed:
        words += " No code tells the age."
    if not vocabulary.token_scheme.statics:
        words += " Facts without a date (sex, race) are never told to the model."
    return Check(
        "Time and age",
        "pass" if gaps or vocabulary.timed else "warn",
        words,
        "" if gaps or vocabulary.timed else "If there are gap codes, name them in a token scheme.",
    )


def _value_line(vocabulary: Vocabulary) -> Check:
    bins = vocabulary.value_bins
    if not bins and not vocabulary.next_codes:
        return Check(
            "Values",
            "warn",
            "No code carries a value.",
            "If values are part of the codes, say so in a token scheme (values).",
        )
    if vocabulary.next_codes:
        words = f"Values are codes of their own: {vocabulary.next_codes[0]} to {vocabulary.next_codes[-1]}."
    else:
        base = next(iter(bins))
        words = f"{len(bins):,} codes carry values in bins, such as {bins[base][0].code} ({vocabulary.label(bins[base][0].code)})."
    if not vocabulary.lacks_edges:
        return Check("Values", "pass", words)
    return Check(
        "Values", "warn",
        f"{words} Nothing says which values the bins hold: equal shares of the training split's values are taken.",
        "If the model's makers give the edges, use them, or give the model's own sequences (--sequences).",
    )  # fmt: skip


def check_model(model: BlackBox, dataset: MedsDataset) -> Iterator[Check]:
    """How the model fits the data, and what it says about them."""
    yield _unknown_line(unknown_codes(model.vocabulary, dataset), dataset)
    yield _length_line(model, dataset)
    yield _attribute_line(model, dataset)
    yield _capability_line(model)
    if said := str(getattr(model, "output_filter", "")):
        yield Check(
            "Output filter", "warn", f"Not everything that the model says is heard: {said}.{_hidden(model, dataset)}",
            "What is found is about the filtered answers. Audit the model itself as well: whoever holds its weights meets no filter.",
        )  # fmt: skip
    yield from _likelihood_lines(model, dataset, trained_on(model))
    yield from _honesty_lines(model, dataset)
    yield _prompts_line(model, dataset)
    yield from _self_test_lines(model, dataset)
    yield from _time_lines(model, dataset)


def check_reference(reference: BlackBox, model: BlackBox, dataset: MedsDataset) -> Iterator[Check]:
    """Whether the reference model can be one."""
    same = reference.vocabulary.codes == model.vocabulary.codes
    yield Check(
        "Reference vocabulary", "pass" if same else "warn",
        "The two models share their codes." if same else "The two models have different codes: some figures compare less well.",
    )  # fmt: skip
    if not set(dataset.splits) - seen_by(model, reference):
        yield Check(
            "Strangers", "fail", f"Nobody is left whom no model saw (splits: {', '.join(dataset.splits)}).",
            "Keep a split apart that neither model is trained on.", "members",
        )  # fmt: skip
    several = models_of(reference)
    for one in several:
        which = f" {one.name}" if len(several) > 1 else ""
        yield _reference_training_line(one, model, dataset, f"Reference{which} training")
        if is_same_model(one, model, sample_sequences(model, dataset, trained_on(model), 4)):
            yield Check(
                f"Reference{which} differs", "fail", "The reference model is the audited model itself.",
                "Name a model that was trained on others.", "reference",
            )  # fmt: skip
        yield from _likelihood_lines(one, dataset, trained_on(model), f"Reference{which} ")


def _reference_training_line(reference: BlackBox, model: BlackBox, dataset: MedsDataset, name: str) -> Check:
    """On whom a reference model was trained: not on the members, and better not on those who are to be compared with them."""
    split = reference.training_split
    say = (
        f"Name the split of its patients with {option('reference_training_split')} ({NOBODY}: it saw nobody of this data set), or in a file "
        'training.json in its folder, such as {"split": "tuning"}.'
    )
    if split is None and REFERENCE_SPLIT not in dataset.splits:
        return Check(name, "fail", "Nothing says on which patients the reference model was trained.", say, "reference")
    if split is None:
        words = f"Supposed: on the split {REFERENCE_SPLIT!r}. Nothing says on which patients the reference model was trained."
        return Check(name, "warn", words, f"If that is wrong: {say[:1].lower()}{say[1:]}")
    if split == trained_on(model):
        return Check(
            name, "fail",
            f"It was trained on the split {split!r}, as the audited model was: it cannot show what a model says that never saw them.",
            "Name a model that was trained on others.", "reference",
        )  # fmt: skip
    if split not in dataset.splits:
        return Check(
            name, "pass", f"It saw nobody of this data set: it was trained on {split!r}, which is not a split of it."
        )
    return Check(name, "pass", f"It was trained on the split {split!r}.")


def _unknown_line(unknown: UnknownCodes, dataset: MedsDataset) -> Check:
    """What the model does not know of the data: it cannot be told, and neither can it be leaked."""
    if not unknown.codes:
        return Check("Vocabulary fits", "pass", f"The model knows all {unknown.of:,} codes of the data.")
    words = f"The model does not know {unknown.in_words()}. The most frequent: {', '.join(unknown.codes[:_NAMED])}."
    codes = dataset.attribute_codes.query("role == 'code'")
    sensitive = codes[codes["code"].isin(unknown.codes)].groupby("attribute", sort=False)["code"].agg(list)
    if len(sensitive):
        named = (f"{dataset.attributes[name].title} ({_some(found)})" for name, found in sensitive.items())
        words += f" Sensitive ones: {'; '.join(named)}."
    return Check(
        "Vocabulary fits", "warn" if 1 - unknown.share >= LEAST_KNOWN else "fail",
        f"{words} What they say cannot be asked, nor leak.",
        "If the model writes some of them otherwise, say how with a token scheme's 'rename'; else give the data set that it was trained on."
        if 1 - unknown.share < WELL_KNOWN else "",
    )  # fmt: skip


def _some(codes: Sequence[str]) -> str:
    more = len(codes) - _NAMED
    return ", ".join(codes[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _length_line(model: BlackBox, dataset: MedsDataset) -> Check:
    split = trained_on(model)
    records = dataset.records(dataset.ids(split if split in dataset.splits else None)[:_LENGTHS_OF])
    lengths = np.array([len(encode(record, model.vocabulary).codes) for record in records] or [0])
    longer = int((lengths > model.context_length).sum())
    words = f"A record has {np.median(lengths):.0f} codes (median of {len(records)}; the longest {lengths.max():,})."
    if not longer:
        return Check("Record length", "pass", words)
    return Check(
        "Record length", "warn",
        f"{words} {longer} of {len(records)} do not fit the context of {model.context_length:,} codes: of them, embeddings see the first part, "
        "membership is scored in windows, and prompts are refused where they do not fit.",
    )  # fmt: skip


def _attribute_line(model: BlackBox, dataset: MedsDataset) -> Check:
    codes = AttributeCodes(model.vocabulary, dataset.attributes, dataset.codes["code"].tolist(), dataset.descriptions)
    known, unknown = codes.default_names(), codes.unknown_to_model()
    if not known:
        return Check(
            "Codes of sensitive attributes", "warn", "The model has no code of any declared sensitive attribute.",
            "'ehrmem attributes --data DIR --write own.yaml' lists the codes of the data for you to choose from; --attribute-file names that file.",
        )  # fmt: skip
    words = f"The model has codes of {len(known)} of {len(known) + len(unknown)}: {', '.join(codes.attributes[n].title for n in known)}."
    return Check("Codes of sensitive attributes", "pass", words)


def _capability_line(model: BlackBox) -> Check:
    gives = {
        Query.SAMPLE: "continuations",
        Query.SCORES: "log-probabilities of given codes",
        Query.PROBABILITIES: "the probability of every next code",
        Query.EMBEDDINGS: "embeddings",
    }
    given, missing = (
        [words for query, words in gives.items() if (query in model.answers) is there] for there in (True, False)
    )
    words = f"It gives {', '.join(given) or 'nothing'}."
    if not missing:
        return Check("Capabilities", "pass", words)
    return Check(
        "Capabilities",
        "warn",
        f"{words} It gives no {', and no '.join(missing)}.",
        " ".join(getattr(model, "notes", ())),
    )


def _likelihood_lines(model: BlackBox, dataset: MedsDataset, split: str, whose: str = "") -> Iterator[Check]:
    """By the records of a split. ``whose``: what the checks' names begin with."""
    if Query.SCORES not in model.answers:
        yield Check(
            f"{whose}has learned" if whose else "Has learned",
            "warn",
            "Not looked at: it gives no probabilities. Wrong weights would go unnoticed.",
        )
        return
    try:
        some = sample_sequences(model, dataset, split)
        gain = check_has_learned(model, some)
        yield Check(
            f"{whose}has learned" if whose else "Has learned",
            "pass",
            f"Real records are {gain:.2f} nats per code likelier than shuffled ones (n = {len(some)}).",
        )
        check_codes_in_place(model, some)
        yield Check(
            f"{whose}codes in place" if whose else "Codes in place",
            "pass",
            "Moving every id by one makes real records less likely.",
        )
    except EhrmemError as error:
        yield Check(
            f"{whose}has learned" if whose else "Has learned",
            "fail",
            str(error),
            "Ask whoever trained the model for its own list of codes and its weights.",
            "reference" if whose else "everything",
        )


def _honesty_lines(model: BlackBox, dataset: MedsDataset) -> Iterator[Check]:
    """Whether the model continues records, and answers each question by itself and as it says."""
    some = [ids[:_CODES] for ids in sample_sequences(model, dataset, trained_on(model))]
    if Query.SCORES in model.answers:
        try:
            check_looks_back_only(model, some)
            yield Check("Looks back only", "pass", "Changing the last code of a record changes no earlier score.")
        except EhrmemError as error:
            yield Check("Looks back only", "fail", str(error))
    try:
        words = check_asked_alike(model, some)
        yield Check("Answers alike", "pass", words)
    except EhrmemError as error:
        yield Check("Answers alike", "fail", str(error))


def _prompts_line(model: BlackBox, dataset: MedsDataset) -> Check:
    """Whether what an attacker's facts make is what the model was trained on: the first codes of a record, as they stand there."""
    vocabulary, split = model.vocabulary, trained_on(model)
    literal, asked = 0, 0
    for record in dataset.records(dataset.ids(split if split in dataset.splits else None)[:_PREFIXES]):
        prompt = build_prompt(record, facts_of_level(f"first_{_FIRST}", record, vocabulary), vocabulary)
        own = encode(record, vocabulary).codes[: len(prompt.slots)]
        asked, literal = asked + 1, literal + ([*prompt.slots] == [(code,) for code in own])
    words = f"Prompts of the first {_FIRST} codes are prefixes of {literal} of {asked} sequences."
    if literal == asked:
        return Check("Prompts", "pass", words)
    return Check(
        "Prompts", "fail", f"{words} The others are not what the model was trained on, so leaks would look smaller than they are.",
        "Give the model's own sequences (--sequences), or correct the token scheme (--token-scheme).", "prompts",
    )  # fmt: skip


def _self_test_lines(model: BlackBox, dataset: MedsDataset) -> Iterator[Check]:
    """How likely the codes are that really follow a record's own first ones: of members, and of people whom the model never saw."""
    if Query.SCORES not in model.answers:
        return
    never = _never_seen(model, dataset)
    groups = {"members": trained_on(model), **({"never seen": never} if never else {})}
    found = {words: _next_codes(model, dataset, split) for words, split in groups.items() if split in dataset.splits}
    if "members" not in found or not len(found["members"]):
        return
    told = {words: mean_with_interval(losses) for words, losses in found.items() if len(losses)}
    words = "; ".join(
        f"{name}: {one.value:.2f} ({one.low:.2f} to {one.high:.2f}, n = {one.n})" for name, one in told.items()
    )
    words = f"The {_FIRST} codes that really follow the first {_FIRST}, in nats a code (lower: likelier). {words[:1].upper()}{words[1:]}."
    worse = len(told) == 2 and told["members"].low > told["never seen"].high
    yield Check(
        "Self-test", "fail" if worse else "pass", words,
        "Members cannot be less likely than others: the splits are mixed up, or the model was trained on others. Name the right split." if worse else "", "members",
    )  # fmt: skip


def _never_seen(model: BlackBox, dataset: MedsDataset) -> str | None:
    """A split that neither model was trained on."""
    never = [split for split in dataset.splits if split not in {trained_on(model), REFERENCE_SPLIT}]
    return never[-1] if never else None


def _hidden(model: BlackBox, dataset: MedsDataset) -> str:
    """What a filter costs whoever uses the model: how many of the codes that really follow it does not foresee any more."""
    split = _never_seen(model, dataset)
    if split is None or Query.SCORES not in model.answers:
        return ""
    sequences = [ids for ids in sample_sequences(model, dataset, split, _HIDDEN_OF) if len(ids) > 1]
    share = mean_with_interval(np.array([np.isneginf(one).mean() for one in model.score(sequences)]), bounds=(0, 1))
    return f" Of the codes that really follow in records never seen, a share of {share} is hidden."


def _next_codes(model: BlackBox, dataset: MedsDataset, split: str) -> np.ndarray:
    """(n,) mean loss of the codes behind the first ones, of records that have as many."""
    ids = [ids[: 2 * _FIRST + 1] for ids in sample_sequences(model, dataset, split, 4 * _PREFIXES)]
    scores = model.score([one for one in ids if len(one) == 2 * _FIRST + 1][:_PREFIXES])
    losses = np.array([-float(hidden_as_guessed(one[-_FIRST:], len(model.vocabulary)).mean()) for one in scores])
    return losses[np.isfinite(losses)]


def _time_lines(model: BlackBox, dataset: MedsDataset) -> Iterator[Check]:
    some = sample_sequences(model, dataset, trained_on(model), 8)
    prompt = [[number] for number in (some[0][: max(1, len(some[0]) // 2)] if some else [0])]
    prompt = prompt[-(model.context_length - _STEPS - 1) :]
    horizon = _LIFE if model.vocabulary.timed else _STEPS
    for _ in range(2):  # the first time also builds what is kept
        begun = time.perf_counter()
        done = sum(int((step.codes >= 0).sum()) for step in model.generate([prompt], horizon, _SAMPLES, seed=0))
        rate = done / max(time.perf_counter() - begun, 1e-9)
    words = f"About {rate:,.0f} codes a second: at most {_in_words(_ANSWER / rate)} for one settled answer of the main screen"
    if Query.SCORES in model.answers and some:
        begun = time.perf_counter()
        model.score(some)
        each = (time.perf_counter() - begun) / len(some)
        words += f", {_in_words(4 * each * _COHORT)} for membership of {_COHORT} people"
    yield Check("Expected run time", "pass", f"{words}.")


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _open_data(sources: Sources, model: BlackBox | None) -> MedsDataset:
    dataset = _read_data(sources, model)
    dataset.declare(attribute_file=sources.attribute_file, canaries=sources.canaries)
    canary_repetitions(dataset)  # a file of canaries that cannot be read is said here
    return dataset


def _read_data(sources: Sources, model: BlackBox | None) -> MedsDataset:
    if not sources.sequences:
        return MedsDataset(str(sources.data))
    given = open_sequences(sources, model.vocabulary if model else None)
    if model is not None:
        model.vocabulary = given.vocabulary
    return given


def _opened(
    what: str, open_it: Callable[[], Opened], *, todo: str = "", stops: Stops = "everything"
) -> Generator[Check, None, Opened | None]:
    try:
        found = open_it()
    except EhrmemError as error:
        yield Check(what, "fail", str(error), todo if "MEDS data set" in str(error) else "", stops)
        return None
    shown = repr(found)  # such as MedsDataset('sample cohort': 3,000 patients): a clinician reads it without the class
    yield Check(what, "pass", shown.partition("(")[2].removesuffix(")") or shown)
    return found
