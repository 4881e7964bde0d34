"""``ehrmem``: a thin door to the same functions that the notebooks use.

Exit codes: 0 done; 2 wrong input, or a question that this model cannot answer; 3 a server or a disk went away, or a kept file is damaged (the
same command goes on from there); 1 an internal error; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ehrmem_widgets import __version__, settings
from ehrmem_widgets.cores import process_began
from ehrmem_widgets.errors import BadInput, EhrmemError, Unavailable, in_words, resumable
from ehrmem_widgets.files import whole_folder
from ehrmem_widgets.registry import probe_named, probes
from ehrmem_widgets.settings import Number, Price, Whole
from ehrmem_widgets.sources import (
    POPULATION_NAMED,
    PRICE_NAMED,
    SOURCES,
    Sources,
    comma_separated,
    given_population,
    given_sources,
    is_address,
    option,
    sources_to_check,
)
from ehrmem_widgets.terminal import one_line, progress_bar, say

if TYPE_CHECKING:
    import pandas as pd
    from tqdm import tqdm

    from ehrmem_widgets.audit.run import Opened
    from ehrmem_widgets.blackbox.protocol import BlackBox
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.probes.base import Probe
    from ehrmem_widgets.probes.batching import Progress
    from ehrmem_widgets.tokens.vocabulary import Vocabulary

_Read = TypeVar("_Read")
_METAVAR = {
    "data": "DIR", "model": "DIR|URL", "reference": "DIR|URL", "endpoint": "URL", "training_split": "NAME",
    "reference_training_split": "NAME", "output_filter": "FILTER",
}  # fmt: skip
_EXIT_CODES = """\
exit codes:
  0    finished: every test of the plan is done, or noted as one that this model cannot answer
  2    the plan, a flag or a file is wrong, or the folder belongs to another plan, data, model or version
  3    not finished: a server stopped answering, the disk is full or gone, or a kept file is damaged. Run the same command to resume;
       the figures come out as if nothing had happened
  1    an internal error (--debug shows more)
  130  interrupted; run the same command to resume"""
_HALF = 400  # characters of an error's sentence
MODEL_FILES = {"config.json", "training.json", "vocabulary.json", "token_scheme.yaml"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors are one sentence on standard error."""
    parser = _parser()
    arguments = parser.parse_args(argv, argparse.Namespace(own_process=argv is None))
    if not hasattr(arguments, "command"):
        parser.print_help()
        return 2
    debug = getattr(arguments, "debug", False)
    try:
        with _terminated_like_interrupted():
            arguments.command(arguments)
            sys.stdout.flush()
        return 0
    except EhrmemError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("Interrupted. Nothing half-finished was left behind.", 130)
    except BrokenPipeError:  # such as `ehrmem patients | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # what nobody put in words: a place that is forbidden, full or gone
        if debug:
            raise
        said = in_words(error)
        return _say(str(said), said.exit_code)
    except MemoryError:
        if debug:
            raise
        return _say(
            "The memory is full. Close other programs, or take a computer with more of it.", Unavailable.exit_code
        )
    except Exception as error:
        if debug:
            raise
        sentence = " ".join(str(error).split()) or "no further words"
        return _say(f"Internal error: {type(error).__name__}: {sentence}. Add --debug for details.", 1)


def explore(arguments: argparse.Namespace) -> None:
    """Open the main screen, or another one."""
    from ehrmem_widgets.bundled import explore_notebook, notebooks_to_work_in
    from ehrmem_widgets.jupyterlab_autorun.serve import serve

    folder = notebooks_to_work_in()
    screens = sorted(one.stem for one in folder.glob("0*.ipynb"))
    if arguments.screen and arguments.screen not in screens:
        raise BadInput(f"There is no screen {settings.shown(arguments.screen)}. The screens are {', '.join(screens)}.")
    _hand_on_names(arguments)
    serve(
        folder / f"{arguments.screen or explore_notebook().stem}.ipynb",
        port=arguments.port,
        browser=not arguments.no_browser,
    )


def _hand_on_names(arguments: argparse.Namespace) -> None:
    """Data and models as named on the command line, for kernels: through the environment, and checked before anything starts."""
    for name in SOURCES:
        named = getattr(arguments, name) or os.environ.get(f"EHRMEM_{name.upper()}")
        if named:  # the kernel works in another folder
            found = comma_separated(named) if name == "reference" else (named,)
            whole = (str(Path(one).resolve()) if Path(one).exists() else one for one in found)
            os.environ[f"EHRMEM_{name.upper()}"] = ",".join(whole)
    if arguments.population:
        os.environ[POPULATION_NAMED] = str(arguments.population)
    if arguments.price:
        os.environ[PRICE_NAMED] = str(arguments.price)
    _check_named()


def app(arguments: argparse.Namespace) -> None:
    """Open the screens as pages without code."""
    from ehrmem_widgets.app.serve import allow_network, is_private, serve_app
    from ehrmem_widgets.bundled import bundled, notebooks_to_work_in

    _hand_on_names(arguments)
    real, file, more = arguments.real_patients, arguments.password_file, {}
    if arguments.host and not is_private(arguments.host):
        more = {
            "host": arguments.host,
            "password": allow_network(arguments.host, real_patients=real, password_file=file),
        }
    elif real or file:
        raise BadInput("--real-patients and --password-file go with --host: without it, only this computer is served.")
    folder = bundled("notebooks") if more else notebooks_to_work_in()  # others get ours as they are
    serve_app(folder, port=arguments.port, browser=not arguments.no_browser, **more)


def report(arguments: argparse.Namespace) -> None:
    """Write one patient's report, or those of many."""
    from ehrmem_widgets.reports.patient_report import make_report

    names = (
        "patient",
        "knowledge",
        "facts",
        "attributes",
        "focus",
        "horizon",
        "samples",
        "seed",
        "population",
        "price",
        "sealed",
        "asked",
        *SOURCES,
    )
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) not in (None, False)}
    if arguments.patients:
        return _reports(arguments, given)
    if arguments.workers:
        raise BadInput("--workers needs --patients: a single report is written by one process.")
    say("Asking the model; this takes about half a minute ...", errors=True)
    make_report(arguments.out, **given)
    say(f"Wrote {arguments.out} and {arguments.out.with_suffix('.json')} (identifying: internal use).")


def explorable(arguments: argparse.Namespace) -> None:
    """Write the one HTML file in which the models answer live."""
    from ehrmem_widgets.explorable.page import make_page
    from ehrmem_widgets.samples.folders import (
        sample_data,
        sample_model,
        sample_moderate,
        sample_private,
        sample_reference,
    )

    own = bool(arguments.models)
    if bool(arguments.data) != own:
        raise BadInput("--data and --models belong together: give both, or neither for the samples.")
    models = arguments.models or [sample_model(), sample_moderate(), sample_private()]
    reference = arguments.reference or (None if own else sample_reference())
    if not own:
        say(
            "Writing the committee's report and the page; this takes about half a minute ...",
            errors=True,
        )
    size = make_page(
        arguments.out, data=arguments.data or sample_data(), models=models, reference=reference, patients=_asked_patients(arguments.patients),
        max_bytes=int(1e6 * arguments.max_size), lesson=not own,
    )  # fmt: skip
    say(
        f"Wrote {arguments.out} ({size / 1e6:.1f} MB). It opens in a browser, from a disk or a stick, with the network off."
    )


def _asked_patients(given: str) -> list[str] | int:
    """A number of patients, or the pseudonyms in a file."""
    from ehrmem_widgets.explorable.page import PATIENTS
    from ehrmem_widgets.reports.patient_reports import patients_in

    if given and not given.isdigit():
        return patients_in(Path(given))
    number = int(given or PATIENTS)
    if not 1 <= number <= 200:
        raise BadInput(f"--patients is a number from 1 to 200, or a file of pseudonyms; got {given}.")
    return number


def letter(arguments: argparse.Namespace) -> None:
    """Write a letter in plain language."""
    from ehrmem_widgets.reports.letter import make_letter

    make_letter(arguments.report, arguments.out, audience=arguments.audience, language=arguments.language)
    about = (
        "about a whole audit: it names no patient"
        if arguments.report.is_dir()
        else "about one patient: treat it like a patient record"
    )
    say(f"Wrote {arguments.out} ({about}).")


def _reports(arguments: argparse.Namespace, given: dict[str, object]) -> None:
    from ehrmem_widgets.reports.patient_reports import INDEX, make_reports

    summary = make_reports(arguments.patients, arguments.out, workers=arguments.workers, progress=_Bar(), **given)
    made, failed = len(summary["reports"]), len(summary["failed"])
    say(f"{arguments.out / INDEX} lists {made:,} reports (identifying: internal use).")
    if failed:
        raise BadInput(f"{failed:,} without a report ({INDEX} says why). Run the same command to try them again.")


def patients(arguments: argparse.Namespace) -> None:
    """Print the table of patients."""
    if arguments.sequences or os.environ.get("EHRMEM_SEQUENCES"):
        from ehrmem_widgets.blackbox.opening import open_sequences

        table = patient_table(open_sequences(_sources(arguments)))
    else:
        table = patient_table(_data(arguments.data))
    if arguments.json:
        say(json.dumps(table.to_dict("records"), indent=1))
    else:
        table["attributes"] = [", ".join(names) for names in table["attributes"]]
        say(_aligned(table))


def probe(arguments: argparse.Namespace) -> None:
    """Run one probe over a cohort."""
    from ehrmem_widgets.findings.finding import check_free
    from ehrmem_widgets.probes.batching import Checkpoint
    from ehrmem_widgets.probes.run import run
    from ehrmem_widgets.registry import alternatives_for
    from ehrmem_widgets.reports.patient_reports import patients_in

    out: Path = arguments.out
    if out.suffix == ".parquet":
        raise BadInput(f"A finding is now a folder with one Parquet file per table: name {str(out.with_suffix(''))!r}.")
    if not out.absolute().parent.is_dir():
        raise BadInput(f"Name a folder for the finding, inside a folder that exists; got {str(out)!r}.")
    check_free(out)
    patients = patients_in(arguments.patients) if arguments.patients else None
    asked = probe_named(arguments.name)
    more: dict[str, Any] = {}
    if "population" in asked.options:
        more["population"] = given_population(arguments.population)
    elif arguments.population:
        raise BadInput(f"The probe {asked.name!r} does not count who fits the facts. Leave out --population.")
    if arguments.shadow and "shadow" not in asked.options:
        raise BadInput(f"The probe {asked.name!r} has no use for shadow models. Leave out --shadow.")
    if arguments.shadow:
        more["shadow"] = arguments.shadow
    for name in ("claimed_epsilon", "claimed_delta"):
        if (claim := getattr(arguments, name)) is None:
            continue
        if name not in asked.options:
            raise BadInput(f"The probe {asked.name!r} holds nothing against a claim. Leave out {option(name)}.")
        more[name] = claim
    settings.check_claim(arguments.claimed_epsilon, arguments.claimed_delta)
    dataset, model, reference = _opened(arguments, asked)
    checkpoint = Checkpoint(out.with_name(out.name + ".unfinished"))
    with resumable(), checkpoint.alone():
        found = run(
            asked.name, dataset, model, reference, knowledge_levels=arguments.knowledge_levels, patients=patients, seed=arguments.seed,
            checkpoint=checkpoint, progress=_Bar(), alternatives_of=alternatives_for(dataset), **more,
        )  # fmt: skip
        found.save(out)
    if checkpoint.remove():
        say(
            f"{checkpoint.folder} still holds answers of an earlier run with other settings. Remove it if they are not needed."
        )
    say(found.summary())
    say(f"Wrote {out} ({found.rows:,} rows; patients by pseudonym: internal use).")


def _opened(arguments: argparse.Namespace, asked: Probe) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    """The data and the models, or outputs in a model's place."""
    from ehrmem_widgets.blackbox.opening import open_outputs, open_sources

    if not arguments.outputs:
        return open_sources(_sources(arguments))
    if not asked.takes_outputs:
        takes = " and ".join(repr(one.name) for one in probes().values() if one.takes_outputs)
        raise BadInput(f"The probe {asked.name!r} asks a model. Leave out --outputs, or run {takes}.")
    sources = sources_to_check(**{name: getattr(arguments, name, None) for name in SOURCES})
    return *open_outputs(sources, arguments.outputs), None


class _Bar:
    """Progress with the time left, on standard error."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._bar_of = ""

    def __call__(self, progress: Progress) -> None:
        if self._bar is None or self._bar_of != progress.what:
            if self._bar is not None:
                self._bar.close()
            self._bar_of = progress.what
            self._bar = progress_bar(progress.what, progress.total, unit="", initial=progress.done)
        self._bar.update(progress.done - self._bar.n)
        if progress.done >= progress.total:
            self._bar.close()


def audit(arguments: argparse.Namespace) -> None:
    """Run every probe of a plan over a cohort."""
    from ehrmem_widgets.audit.plan import example, read_plan

    if arguments.example:
        say(example(), end="")
        return
    if arguments.plan is None or (arguments.out is None and not arguments.estimate):
        raise BadInput("Name a plan and a folder for the results: ehrmem audit plan.yaml --out results.")
    plan = read_plan(arguments.plan, arguments.output_filter)
    from ehrmem_widgets.audit.cluster import in_the_clear
    from ehrmem_widgets.audit.foreseen import foresee
    from ehrmem_widgets.audit.run import command_of, one_thread_each, open_plan, run_audit

    def before(about: Opened) -> None:
        said: list[str] = []
        for foreseen in foresee(plan, about, workers=arguments.workers):
            new = [sentence for sentence in foreseen.in_words() if sentence not in said]
            say("\n".join(new), errors=not arguments.estimate)
            said += new

    if arguments.estimate:
        one_thread_each()
        before(open_plan(plan))
        return
    if arguments.cluster is not None and (warning := in_the_clear(arguments.cluster)):
        say(warning, errors=True)

    command = command_of(arguments.plan, arguments.out, arguments.workers, arguments.cluster, arguments.output_filter)
    found = run_audit(
        plan,
        arguments.out,
        workers=arguments.workers,
        cluster=arguments.cluster,
        command=command,
        progress=_Bar(),
        before=before,
    )
    for run in found["runs"]:
        say(f"\n{run['probe']}: {probes()[run['probe']].full_question}")
        said = run.get("sentences", [])[:3] if run["state"] == "done" else [f"Not run: {run['reason']}"]
        say("\n".join(f"  {sentence}" for sentence in said))
    if found["workers_lost"]:
        from ehrmem_widgets.charts.markup import plural

        say(f"\n{plural(found['workers_lost'], 'worker')} died, perhaps because memory ran out; the rest carried on.")
    from ehrmem_widgets.audit.results import AuditResults
    from ehrmem_widgets.audit.working_attacks import in_lines

    say("\n".join(["", *in_lines(AuditResults(arguments.out))]))
    say(f"\nWrote {arguments.out}. Next: ehrmem audit-report {arguments.out} --out report.html")


def audit_report(arguments: argparse.Namespace) -> None:
    """Write an audit's report."""
    from ehrmem_widgets.reports.audit_page import audit_page

    _write_page(arguments.out, lambda: audit_page(arguments.folder))
    say(
        f"The folder {arguments.folder} names patients by pseudonym and must not leave with it: ehrmem export writes one that may."
    )


def export(arguments: argparse.Namespace) -> None:
    """Write what of an audit may travel."""
    from ehrmem_widgets.reports.export import export as write_export

    write_export(arguments.folder, arguments.out)
    say(f"Wrote {arguments.out}. It names no patient; the results folder does and must not leave with it.")


def plugins(arguments: argparse.Namespace) -> None:
    """List what is installed, and what of it cannot be used."""
    from ehrmem_widgets.registry import attribute_files, black_boxes, problems, token_schemes

    listed = (
        ("Probes", probes()), ("Black boxes", black_boxes()), ("Token schemes", token_schemes()),
        ("Attribute files", attribute_files()),
    )  # fmt: skip
    for title, found in listed:
        say(f"{title}: {', '.join(found) or 'none besides the built-in ones'}")
    for sentence in problems():
        say(sentence)


def compare(arguments: argparse.Namespace) -> None:
    """Write two audits side by side."""
    from ehrmem_widgets.reports.compare_page import compare_page

    folders = arguments.folders
    own = [one.name for one in folders]
    names = arguments.names or (own if len(set(own)) == len(own) else [])
    _write_page(arguments.out, lambda: compare_page(*folders, names=names))


def workshop_results(arguments: argparse.Namespace) -> None:
    """Draw a class from its results codes."""
    from ehrmem_widgets.workshop.class_results import class_results, in_words, page, read_codes

    found = class_results(read_codes(arguments.codes))
    say(in_words(found))
    if arguments.out:
        _write_page(arguments.out, lambda: page(found))


def _write_page(out: Path, page: Callable[[], str]) -> None:
    """Write a page about a cohort, as HTML or as PDF by the name's ending."""
    from ehrmem_widgets.files import write_whole
    from ehrmem_widgets.reports.patient_report import checked_out
    from ehrmem_widgets.reports.pdf import as_pdf

    checked_out(out, kinds=(".html", ".htm", ".pdf"))
    write_whole({out: as_pdf(page()) if out.suffix.lower() == ".pdf" else page()})
    say(f"Wrote {out}.")


def attributes(arguments: argparse.Namespace) -> None:
    """Write a draft of a file of sensitive attributes."""
    from ehrmem_widgets.cohort.attribute_draft import attribute_draft
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.files import write_whole
    from ehrmem_widgets.samples.folders import sample_data

    out: Path = arguments.write
    if out.exists():
        raise BadInput(f"{str(out)!r} already exists and was not overwritten. Name another file.")
    if not out.parent.is_dir():
        raise BadInput(f"There is no folder {str(out.parent)!r} to write into.")
    write_whole({out: attribute_draft(MedsDataset(arguments.data or sample_data()))})
    say(f"Wrote {out}. Choose codes in it, then name it with --attribute-file.")


def canaries(arguments: argparse.Namespace) -> None:
    """Plant canaries in a data set."""
    from ehrmem_widgets.cohort.canary_maker import key_beside, make_canaries
    from ehrmem_widgets.statistics.privacy_loss import provable

    out: Path = arguments.out
    key: Path = arguments.key or key_beside(out)
    made = make_canaries(
        arguments.data, out, key, n=arguments.n, repetitions=arguments.repetitions, coin_flip=arguments.coin_flip, seed=arguments.seed,
    )  # fmt: skip
    planted = sum(one.included for one in made)
    say(
        f"Wrote {out}, the data to train on, with {planted:,} of {len(made):,} canaries in its split 'train', and {key}, which says who they are. "
        f"Keep the key from whoever trains. Afterwards: ehrmem audit or ehrmem probe with --data {out} --canaries {key}."
    )
    if not made[0].alternatives:
        say(
            "No code of these data has values, so the canaries have no alternatives: exposure cannot be measured with them."
        )
    if arguments.coin_flip:
        say(f"So many coins can show an epsilon of {provable(len(made)):.1f} at most.")


def vulnerable(arguments: argparse.Namespace) -> None:
    """List the patients who are most exposed, for internal use."""
    from ehrmem_widgets.audit.results import AuditResults
    from ehrmem_widgets.audit.vulnerable import vulnerable_list
    from ehrmem_widgets.reports.vulnerable_page import in_words, write_list

    out: Path = arguments.out or arguments.folder / "vulnerable.html"
    audit = AuditResults(arguments.folder)
    named = ((audit.results.get("plan") or {}).get("sources") or {}).get("data")
    dataset = _data(arguments.data or named)
    found = vulnerable_list(audit, dataset, arguments.rate)
    write_list(found, audit, dataset, out)
    say("\n".join(in_words(found)))
    say(
        f"Wrote {out} ({found.rows['patient'].nunique():,} patients by pseudonym: internal use, for those who must protect them)."
    )


def coarsen(arguments: argparse.Namespace) -> None:
    """Write a data set whose rare codes are coarser or left out."""
    from ehrmem_widgets.cohort.coarsening import coarsen as write_coarser
    from ehrmem_widgets.files import read_text

    if arguments.fewer_than is None and arguments.drop_codes is None:
        raise BadInput("Say what is to change: --fewer-than N, --drop-codes FILE, or both.")
    listed = read_text(arguments.drop_codes, "The file of codes to drop").splitlines() if arguments.drop_codes else []
    drop = {line.strip() for line in listed if line.strip()}
    made = write_coarser(arguments.data, arguments.out, fewer_than=arguments.fewer_than or 0, drop=drop)
    gone = sum(new is None for new in made.becomes.values())
    say(
        f"Wrote {arguments.out}: {len(made.becomes) - gone:,} codes are coarser, {gone:,} are left out, and {made.emptied:,} patients have no event left. "
        "Train on it, and audit the new model with it: then the facts of an attacker are as coarse as the training."
    )
    for name, (before, now) in made.holders.items():
        say(f"{name}: held by {before:,} patients before, {now:,} now. The others are no longer asked about.")


def forget(arguments: argparse.Namespace) -> None:
    """List what is kept about patients on this computer, and remove it if told."""
    from ehrmem_widgets import kept

    found = kept.forget() if arguments.yes else kept.kept()
    for one in found:
        say(f"{one.size / 1e6:>10,.1f} MB  {one.words}: {one.path}")
    if not found:
        say("Nothing is kept about patients on this computer, but what you wrote yourself: reports, results, models.")
    elif arguments.yes:
        say("Removed. Reports, results and models stay where you wrote them; so does the key of the pseudonyms.")
    else:
        say("'ehrmem forget --yes' removes it. It is made again when it is needed.")


def check(arguments: argparse.Namespace) -> None:
    """Say whether a model can be audited on a data set, one line per check, and then test by test."""
    from dataclasses import asdict

    from ehrmem_widgets.cohort.check import Check
    from ehrmem_widgets.probes.answerable import Answerable, checked, in_lines, in_sum

    sources = sources_to_check(**{name: getattr(arguments, name) for name in SOURCES})
    if arguments.write_token_scheme:
        _write_token_scheme(sources, arguments.write_token_scheme)
    found: list[Check] = []
    tests: list[Answerable] = []
    for one in checked(sources):
        if isinstance(one, Answerable):
            tests.append(one)
            continue
        found.append(one)
        if not arguments.json:
            say(f"{one.level:<5} {one.name}: {one_line(one.words)}")
            if one.todo:
                say(f"      To do: {one_line(one.todo)}")
    if arguments.json:
        whole = {
            "sources": asdict(sources),
            "checks": [asdict(one) for one in found],
            "tests": [asdict(one) for one in tests],
        }
        say(json.dumps(whole, indent=1))
    else:
        say("\n".join(in_lines(tests)))
    possible, said = in_sum(found, tests)
    if not possible:
        raise BadInput(said)
    if not arguments.json:
        say(said)


def _write_token_scheme(sources: Sources, out: Path) -> None:
    from ehrmem_widgets.blackbox.folder import folder_vocabulary

    if out.exists():
        raise BadInput(f"{str(out)!r} already exists and was not overwritten. Name another file.")
    vocabulary = folder_vocabulary(sources.model_folder or Path(), sources.vocabulary, sources.token_scheme)
    out.write_text(vocabulary.token_scheme.to_yaml(), encoding="utf-8")


def serve(arguments: argparse.Namespace) -> None:
    """Serve a folder model over HTTP."""
    from ehrmem_widgets.blackbox.opening import behind_filter, open_model
    from ehrmem_widgets.blackbox.serve import budgets
    from ehrmem_widgets.blackbox.serve import serve as serve_until_stopped

    model = open_model(arguments.model, vocabulary=arguments.vocabulary, token_scheme=arguments.token_scheme)
    model = behind_filter(model, arguments.output_filter, arguments.attribute_file)
    serve_until_stopped(model, arguments.port, budgets(arguments.per_minute, arguments.per_day))


def train(arguments: argparse.Namespace) -> None:
    """Train a small model on a data set."""
    begun = process_began() if arguments.own_process else time.monotonic()
    from ehrmem_widgets.cohort.dataset import MedsDataset

    if arguments.shadow:
        return _train_shadows(arguments)
    if arguments.epsilon is not None and (arguments.epochs or arguments.minutes):
        raise BadInput("With --epsilon the number of steps is fixed: leave out --epochs and --minutes.")
    if arguments.epsilon is not None and arguments.time_to_event:
        raise BadInput(
            "A time-to-event model is not trained with differential privacy here: leave out --epsilon or --time-to-event."
        )
    dataset = MedsDataset(arguments.data)
    _refuse_to_overwrite(arguments.out)
    vocabulary = _shared_vocabulary(arguments)
    common = {"split": arguments.split or "train", "seed": arguments.seed, "vocabulary": vocabulary}
    with _model_folder(arguments.out) as unfinished:
        if arguments.epsilon is not None:
            from ehrmem_widgets.training.private_models import train_private_model

            train_private_model(dataset, unfinished, epsilon=arguments.epsilon, **common)
        else:
            from ehrmem_widgets.training.models import train_model

            epochs = arguments.epochs or (None if arguments.minutes else 30)
            train_model(
                dataset, unfinished, epochs=epochs, minutes=arguments.minutes, begun=begun,
                time_to_event=arguments.time_to_event, **common,
            )  # fmt: skip
    say(f"Wrote the model to {arguments.out} after {time.monotonic() - begun:.1f} seconds.")


def _train_shadows(arguments: argparse.Namespace) -> None:
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.training.shadow_models import train_shadow_models

    if arguments.minutes or arguments.epsilon is not None:
        raise BadInput("With --shadow the same command gives the same models: leave out --minutes and --epsilon.")
    out: Path = arguments.out
    if not out.absolute().parent.is_dir() or (out.exists() and not out.is_dir()):
        raise BadInput(f"The models cannot be written: {str(out)!r} is a file, or its parent folder does not exist.")
    with resumable():
        train_shadow_models(
            MedsDataset(arguments.data), out, shadows=arguments.shadow, splits=[one.strip() for one in (arguments.split or "").split(",") if one.strip()],
            seed=arguments.seed, epochs=arguments.epochs or settings.EPOCHS.example, vocabulary=_shared_vocabulary(arguments),
            time_to_event=arguments.time_to_event,
        )  # fmt: skip
    say(f"{out} holds {arguments.shadow} shadow models, and by pseudonym who was in which (identifying: internal use).")


def _shared_vocabulary(arguments: argparse.Namespace) -> Vocabulary | None:
    from ehrmem_widgets.blackbox.folder import folder_vocabulary

    return folder_vocabulary(arguments.vocabulary) if arguments.vocabulary else None


def build_samples(arguments: argparse.Namespace) -> None:
    """Rebuild the samples."""
    from ehrmem_widgets.samples import build
    from ehrmem_widgets.samples.folders import SAMPLES

    (build.build_rungs if arguments.rungs else build.build_samples)(arguments.out or SAMPLES, report=say)


def patient_table(dataset: MedsDataset) -> pd.DataFrame:
    """What may be shown of every patient: ``pseudonym``, ``split``, ``age_band``, ``sex``, ``events``, ``attributes``
    (a list of names). Neither ids nor dates nor exact ages."""
    shown = dataset.patients[["pseudonym", "split", "age", "sex", "events", "attributes"]].reset_index(drop=True)
    from ehrmem_widgets.cohort.record import age_band

    shown = shown.astype({"split": object, "sex": object})
    shown["age"] = [age_band(age) for age in shown["age"]]
    shown["attributes"] = [list(names) for names in shown["attributes"]]
    shown[["split", "sex"]] = shown[["split", "sex"]].fillna("")
    return shown.rename(columns={"age": "age_band"})


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes no abbreviated options (a script must not change its meaning later)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._negative_number_matcher = re.compile(r"-\.?[0-9]")  # -1e9 is a bad number, and not an unknown option

    def _print_message(self, message: str, file: object = None) -> None:
        if message:
            say(message, errors=file is not sys.stdout, end="")

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            given = (word.partition("=")[0] for word in message.split())
            now = {option(before): option(name) for before, name in settings.NAMES_BEFORE.items()}
            message = next((f"{word} is called {now[word]} now" for word in given if word in now), message)
        self.exit(2, f"{self.prog}: {_shortened(one_line(message))}. '{self.prog} --help' explains.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ehrmem",
        description="Test whether a clinical foundation model has memorized individual patients.",
        epilog="Start with 'ehrmem explore': it opens the main screen in your browser, on sample patients.",
    )
    parser.add_argument("--version", action="version", version=f"ehrmem {__version__}")
    common = _Parser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the whole traceback of an error"
    )
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", metavar="")

    def add(name: str, run: Callable[[argparse.Namespace], None], words: str, more: str, example: str) -> _Parser:
        one = commands.add_parser(
            name, help=words, description=f"{words}\n\n{more}", epilog=f"example:\n  {example}", parents=[common]
        )
        one.set_defaults(command=run)
        return one

    explores = add(
        "explore",
        explore,
        "Open the main screen: what would the model give away about one patient?",
        "Starts JupyterLab on this computer only, on a notebook that runs by itself. Nothing is sent anywhere.\n"
        "Without options it shows the sample patients and models.",
        "ehrmem explore --data my_meds --model my_model --reference other_model\n  ehrmem explore --screen 07_workshop",
    )
    _explore_options(explores)
    explores.add_argument("--screen", default="", metavar="NAME", help="begin with another screen, such as 07_workshop")
    apps = add(
        "app",
        app,
        "Open all screens as pages without code, cells or menus (for clinicians, and for a class).",
        "On this computer only, with a token. A page of which nothing was heard for 20 minutes is ended; its button brings it back.\n"
        "With --host a class in the same network can open the screens, with a password, on the sample patients.",
        "ehrmem app --data my_meds --model my_model --reference other_model\n  ehrmem app --host 192.168.1.20",
    )
    _explore_options(apps)
    _host_options(apps)
    _report_options(
        add(
            "report",
            report,
            "Write one patient's report: an HTML file that opens offline, and its numbers as JSON beside it.",
            "Runs the notebook of the main screen without a screen; the same settings and seed give the same numbers.\n"
            "The report is about one patient: treat it like a patient record. With --patients it writes a folder of reports\n"
            "(resumable: run the same command again).",
            "ehrmem report --patient P-OXSX-EB32 --knowledge lab_values --out report.html\n"
            "  ehrmem report --patients list.txt --out my_reports",
        )
    )
    pages = add(
        "explorable",
        explorable,
        "Write one HTML file in which small models are attacked live, in a browser, with nothing installed and the network off.",
        "For a class or a lecture. Only patients that were made up go into it: a data set says so in its metadata/dataset.json. Without options it\n"
        "holds patients and models of the samples.",
        "ehrmem explorable --out lesson.html\n  ehrmem explorable --data my_synthetic_meds --models my_model --reference other_model --out lesson.html",
    )
    pages.add_argument("--out", type=Path, metavar="FILE.html", required=True, help="the page")
    pages.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of a synthetic MEDS data set (the sample cohort)"
    )
    pages.add_argument("--models", type=Path, nargs="+", metavar="DIR", help="one to three small models, each a folder")
    pages.add_argument("--reference", type=Path, metavar="DIR", help="a model that never saw these patients")
    pages.add_argument(
        "--patients",
        default="",
        metavar="N|FILE",
        help="how many patients are chosen, or a file of pseudonyms, one a line (40)",
    )
    pages.add_argument("--max-size", type=float, default=12, metavar="MB", help="the largest page (12)")
    letters = add(
        "letter",
        letter,
        "Write a letter in plain language: about a patient's report, for the patient or a board, or about a whole audit, for a board.",
        "It asks no model: it says what the results say, in the words of a file that can be translated.",
        "ehrmem letter report.json --audience patient --language de --out letter.html\n  ehrmem letter results --audience board --out letter.html",
    )
    letters.add_argument(
        "report",
        type=Path,
        metavar="REPORT.json|DIR",
        help="what 'ehrmem report' wrote beside its HTML file, or the results of 'ehrmem audit'",
    )
    letters.add_argument(
        "--audience", default="", metavar="WHO", help="patient or board (patient; board where it is about an audit)"
    )
    letters.add_argument("--language", default="en", metavar="LANGUAGE", help="en or de (en)")
    letters.add_argument("--out", type=Path, metavar="FILE.html", required=True, help="the letter")
    _probe_options(
        add(
            "probe",
            probe,
            "Run one test over many patients: members, people never seen, and planted canaries where there are any.",
            "The summary is printed; every figure goes to the folder, with its interval and n. An interrupted\n"
            "run is resumed by the same command (exit code 3: a server or a disk became unavailable).\n\n"
            + "\n".join(f"  {name:<16}{one.full_question}" for name, one in probes().items()),
            "ehrmem probe membership --out membership",
        )
    )
    _audit_options(
        add(
            "audit",
            audit,
            "Run every test of a plan over a cohort (resumable: run the same command again).",
            "It is said first what the plan cannot decide and how long it takes; then the plan is sealed. Findings are written as Parquet tables, a folder per test, with a results.json.\n"
            "'ehrmem audit --example > plan.yaml' writes a plan to begin with.\n\n" + _EXIT_CODES,
            "ehrmem audit plan.yaml --out results --workers 2",
        )
    )
    reported = add(
        "audit-report",
        audit_report,
        "Write an audit's report: one HTML file that opens offline (or a PDF), for those who decide and those who check.",
        "An unfinished audit is marked so on every page.",
        "ehrmem audit-report results --out report.html",
    )
    reported.add_argument("folder", metavar="DIR", type=Path, help="results folder of 'ehrmem audit'")
    reported.add_argument("--out", type=Path, metavar="FILE.html|pdf", required=True, help="the report")
    exported = add(
        "export",
        export,
        "Write the part of an audit that may leave the hospital: the report, and its figures with small counts withheld.",
        "The results folder names patients by pseudonym and must not leave; this folder names nobody.",
        "ehrmem export results --out to_the_board",
    )
    exported.add_argument("folder", metavar="DIR", type=Path, help="results folder of 'ehrmem audit'")
    exported.add_argument("--out", type=Path, metavar="DIR", required=True, help="a folder that is not there yet")
    exposed = add(
        "vulnerable",
        vulnerable,
        "List, for those who must protect them, the patients whom the model gives away most: by which facts, and why.",
        "Internal: it names patients by pseudonym, is part of no report and no export, and must not leave the hospital. Listed is who stands out of people\n"
        "never seen who were asked in the same way; how many of those listed chance explains is said with it.",
        "ehrmem vulnerable results",
    )
    exposed.add_argument("folder", metavar="DIR", type=Path, help="results folder of 'ehrmem audit'")
    exposed.add_argument("--data", metavar="DIR", help="the data that were audited (as the plan names them)")
    exposed.add_argument(
        "--rate",
        type=_typed(settings.FALSE_DISCOVERIES),
        default=settings.FALSE_DISCOVERIES.example,
        metavar="R",
        help="false-discovery rate: of those listed, the share that may be so by chance (0.1)",
    )
    exposed.add_argument(
        "--out", type=Path, metavar="FILE.html|csv", help="the list (vulnerable.html in the results folder)"
    )
    coarser = add(
        "coarsen",
        coarsen,
        "Write a data set in which rare codes are coarser or left out, to train on and to audit by.",
        "ICD codes become their category, ATC codes the level above, until enough people hold them; what has no coarser code is left out.",
        "ehrmem coarsen --data my_meds --out coarser_meds --fewer-than 11",
    )
    coarser.add_argument("--data", type=Path, metavar="DIR", required=True, help="folder of a MEDS data set")
    coarser.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the new data set")
    coarser.add_argument(
        "--fewer-than",
        type=_typed(settings.FEWER_THAN),
        metavar="N",
        help="make codes coarser that fewer than N patients of the data set hold, such as 11",
    )
    coarser.add_argument(
        "--drop-codes",
        type=Path,
        metavar="FILE",
        help="leave out the codes in a text file, one a line, as the data write them",
    )
    add(
        "plugins",
        plugins,
        "List the installed probes, black boxes, token schemes and attribute files, and any that cannot be used, with the reason.",
        "Other packages add to ehrmem through entry points (docs/plugins.md).",
        "ehrmem plugins",
    )
    compared = add(
        "compare",
        compare,
        "Compare audits: before and after retraining, one vendor and another, or the same training with several defences.",
        "Every figure that two have, with the interval of its difference; and what each model is good for against what it gives away.",
        "ehrmem compare results_before results_after --out comparison.html",
    )
    compared.add_argument(
        "folders", nargs="+", metavar="DIR", type=Path, help="results folder of 'ehrmem audit', the first being what others are compared with"
    )  # fmt: skip
    compared.add_argument("--names", nargs="+", metavar="NAME", help="what to call them (the folders' names)")
    compared.add_argument("--out", type=Path, metavar="FILE.html|pdf", required=True, help="the comparison")
    taught = add(
        "workshop-results",
        workshop_results,
        "Draw a class from its results codes: the quiz before the workshop against the quiz after it.",
        "The codes are what participants read out at the end. They hold answers, and nothing about a person. Single questions are shown\n"
        "for 11 participants or more.",
        "ehrmem workshop-results codes.txt --out class.html",
    )
    taught.add_argument(
        "codes", metavar="FILE|CODE", nargs="+", help="a text file of codes, one a line, or the codes themselves"
    )
    taught.add_argument("--out", type=Path, metavar="FILE.html|pdf", help="also write a page (only printed here)")
    checks = add(
        "check",
        check,
        "Check whether a model can be audited on a data set: one line per check (pass, warn or fail), then test by test, and what to do.",
        "Start here with a model of your own: its folder or address, and the MEDS data that it was trained on. With --data alone it says\n"
        "what the data allow, and what each test would ask of a model. Exit code 2 if no test can be done.",
        "ehrmem check --data my_meds --model their_model --vocabulary codes.parquet",
    )
    _source_options(checks)
    checks.add_argument("--json", action="store_true", help="as JSON, for scripts")
    checks.add_argument(
        "--write-token-scheme",
        type=Path,
        metavar="FILE.yaml",
        help="write how the model's codes were read to a file that you can edit",
    )
    served = add(
        "serve",
        serve,
        "Serve a model folder over HTTP on this computer, using the protocol of OpenAI-compatible servers (code ids).",
        "For workshops, and to try an audit of a served model. It listens on 127.0.0.1 only and asks for a token.",
        "ehrmem serve --model my_model --port 8000",
    )
    served.add_argument("--model", metavar="DIR", required=True, help="folder of the model to serve")
    _source_options(served, ("vocabulary", "token_scheme", "attribute_file", "output_filter"))
    served.add_argument("--port", type=_typed(settings.PORT), metavar="N", help="port to use (a free one)")
    for when in ("minute", "day"):
        words = f"continuations, scored records and embeddings given in a {when}; then 429, and when to ask again (no limit)"
        served.add_argument(f"--per-{when}", type=_typed(settings.QUERIES), metavar="N", help=words)
    table = add(
        "patients",
        patients,
        "List the patients by pseudonym: split, age band, sex, number of events, sensitive attributes held.",
        "Ids are never shown. The pseudonyms are what --patient takes.",
        "ehrmem patients --data my_meds | less",
    )
    _source_options(table, ("data", "sequences", "model", "vocabulary", "token_scheme"))
    table.add_argument("--json", action="store_true", help="as JSON, for scripts")
    forgets = add(
        "forget",
        forget,
        "List what is kept about patients on this computer (embeddings, indexes, sequences), and remove it.",
        "It is kept in your user's cache folder so that it need not be computed again. Reports, results and models are yours and stay.",
        "ehrmem forget\n  ehrmem forget --yes",
    )
    forgets.add_argument("--yes", action="store_true", help="remove it")
    drafts = add(
        "attributes",
        attributes,
        "Write a draft of your own sensitive attributes, from the codes of a data set, for you to edit.",
        "What is sensitive, and how severe, is for people to say. The file lists the data set's codes with their labels, and says what to do with them.\n"
        "Codes of fewer than 11 patients are not listed.",
        "ehrmem attributes --data my_meds --write own.yaml",
    )
    drafts.add_argument("--data", type=Path, metavar="DIR", help="folder of a MEDS data set (the sample cohort)")
    drafts.add_argument("--write", type=Path, metavar="FILE.yaml", required=True, help="the file")
    plants = add(
        "canaries",
        canaries,
        "Write a data set to train on in which made-up patients are planted, and the key that names them.",
        "The patients are drawn from the statistics of the data's codes; no record and no rare run of codes is copied. Half of them are planted, or with\n"
        "--coin-flip each by its own coin; the others stay in the key. Audits take the key with --canaries.",
        "ehrmem canaries make --data my_meds --out to_train_on --n 1000 --coin-flip",
    )
    plants.add_argument("action", choices=("make",), help="what to do")
    plants.add_argument("--data", type=Path, metavar="DIR", required=True, help="folder of a MEDS data set")
    plants.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the data set with canaries")
    plants.add_argument("--key", type=Path, metavar="FILE.parquet", help="the key (beside the folder: OUT-key.parquet)")
    plants.add_argument(
        "--n",
        type=_typed(settings.CANARIES),
        default=settings.CANARIES.example,
        metavar="N",
        help="canaries made, planted or not (200)",
    )
    plants.add_argument(
        "--repetitions", type=_typed(settings.REPETITIONS), default=1, metavar="N", help="how often each is planted (1)"
    )
    plants.add_argument(
        "--coin-flip", action="store_true", help="plant each by a fair coin: then audits give a lower bound of epsilon"
    )
    plants.add_argument(
        "--seed",
        type=_typed(settings.SEED),
        metavar="N",
        help="same seed, same canaries and coins: for tests only (random)",
    )
    _train_options(
        add(
            "train",
            train,
            "Train a small model on a MEDS data set, to try the tests before you have a model.",
            "It memorizes if trained for long; a model trained on another split with --vocabulary serves as its reference.",
            "ehrmem train --data my_meds --out my_model --minutes 10",
        )
    )
    samples = add(
        "build-samples",
        build_samples,
        "Rebuild the sample patients and the sample models (about 20 minutes).",
        "The patients are synthetic; the same command makes the same ones everywhere.",
        "ehrmem build-samples --out my_samples",
    )
    samples.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (data_samples of this clone)")
    samples.add_argument(
        "--rungs", action="store_true", help="only the small models with and without a defence that are not there yet"
    )
    return parser


def _explore_options(parser: argparse.ArgumentParser) -> None:
    _source_options(parser)
    _population_option(parser)
    _price_option(parser)
    parser.add_argument(
        "--port", type=_typed(settings.PORT), metavar="N", help="port to use (the first free one from 8888)"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address, open nothing")


def _host_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        help="let others in the network of this address of this computer in (0.0.0.0: of all of them); asks for a password",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="with --host: read the password from the first line of a file (else from EHRMEM_APP_PASSWORD, else it is typed)",
    )
    parser.add_argument(
        "--real-patients",
        action="store_true",
        help="with --host: show the patients that --data names to everybody with the password, and not the samples; asks once more",
    )


def _report_options(parser: argparse.ArgumentParser) -> None:
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--patient", metavar="ID", help="pseudonym or id; 'ehrmem patients' lists them (an example)")
    who.add_argument(
        "--patients", type=Path, metavar="FILE", help="or a text file of them: one report each, and an index page"
    )
    _source_options(parser)
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--knowledge",
        type=_knowledge,
        metavar="NAME",
        help="what the attacker knows: nothing, age_sex, demographics, one_lab, lab_dates, lab_values, first_N or "
        "before_YYYY-MM-DD (lab_values)",
    )
    known.add_argument(
        "--facts", metavar="FILE", help="or exact facts: a YAML or JSON file, or a line such as 'age 0 1 5:unknown:day'"
    )
    parser.add_argument("--attributes", metavar="A,B", help="sensitive attributes to ask about (all)")
    parser.add_argument(
        "--focus", metavar="A", help="the one to look at closely (the most severe that the patient holds)"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--sealed",
        action="store_true",
        help="the question was fixed before its answer was seen: the report confirms (default: it explores)",
    )
    how.add_argument(
        "--asked",
        type=_typed(settings.ASKED),
        metavar="N",
        help="how many questions were asked in this session, this one included (1)",
    )
    _population_option(parser)
    _price_option(parser)
    words = "how many codes the model generates, or for how many days if it tells time (64)"
    parser.add_argument("--horizon", type=_typed(settings.HORIZON), metavar="N", help=words)
    parser.add_argument(
        "--samples",
        type=_typed(settings.SAMPLES),
        metavar="N",
        help="maximum number of trajectories for the focus (1024)",
    )
    parser.add_argument("--seed", type=_typed(settings.SEED), metavar="N", help="same seed, same numbers (0)")
    parser.add_argument(
        "--workers",
        type=_typed(settings.WORKERS),
        metavar="N",
        help="processes that write the reports of --patients (2)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.html|DIR",
        required=True,
        help="the report (FILE.json is written beside it); with --patients, a folder",
    )


def _probe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", type=_probe, help="one of " + ", ".join(probes()))
    _source_options(parser)
    parser.add_argument(
        "--knowledge-levels",
        "--knowledge",
        type=_knowledge_levels,
        metavar="A,B",
        help="what the attacker knows: one level or several, as first_10,first_20 (each probe has its own)",
    )
    parser.add_argument(
        "--patients",
        type=Path,
        metavar="FILE",
        help="text file of pseudonyms or ids (400 at random, half of them members)",
    )
    parser.add_argument(
        "--seed", type=_typed(settings.SEED), default=0, metavar="N", help="same seed, same numbers (0)"
    )
    _population_option(parser, " (ranking only)")
    claim = "that is claimed of the model's training, to hold against coin-flipped canaries"
    parser.add_argument("--claimed-epsilon", type=_typed(settings.EPSILON), metavar="E", help=f"the epsilon {claim}")
    parser.add_argument("--claimed-delta", type=_typed(settings.DELTA), metavar="D", help="its delta, such as 0.00001")
    parser.add_argument(
        "--shadow",
        metavar="DIR",
        help="folder of the shadow models that 'ehrmem train --shadow' wrote (membership, one_run)",
    )
    parser.add_argument(
        "--outputs",
        type=Path,
        metavar="FILE|DIR",
        help="instead of a model: what one wrote, such as synthetic patients (Parquet or JSON lines with codes, or MEDS)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="folder for the finding, one Parquet file per table"
    )


def _audit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "plan", metavar="PLAN.yaml", nargs="?", type=Path, help="what to ask, which model, and about whom"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the results")
    many = parser.add_mutually_exclusive_group()
    many.add_argument(
        "--workers", type=_typed(settings.WORKERS), default=1, metavar="N", help="processes on this computer (1)"
    )
    many.add_argument("--cluster", metavar="ADDRESS", help="a Dask scheduler, such as tls://10.0.0.1:8786")
    _source_options(parser, ("output_filter",))
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="only say what the plan cannot decide and how long it takes; nothing is written",
    )
    parser.add_argument("--example", action="store_true", help="print a commented plan for the sample patients")


def _train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", required=True, help="folder of a MEDS data set")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the model")
    parser.add_argument(
        "--split", metavar="NAME", help="whom to train on (train; with --shadow, everybody), with --shadow also A,B"
    )
    parser.add_argument(
        "--shadow",
        type=_typed(settings.SHADOWS),
        metavar="K",
        help="train K shadow models instead, each on a random half of the people, for the membership attack LiRA; the same command resumes",
    )
    parser.add_argument(
        "--seed", type=_typed(settings.SEED), default=0, metavar="N", help="same seed, same weights (0)"
    )
    parser.add_argument(
        "--minutes",
        type=_typed(settings.MINUTES),
        metavar="M",
        help="end after this many minutes, reading and saving included (no limit)",
    )
    parser.add_argument(
        "--epochs",
        type=_typed(settings.EPOCHS),
        metavar="N",
        help="passes over the patients (30; with --minutes, as many as fit)",
    )
    parser.add_argument(
        "--epsilon",
        type=_typed(settings.EPSILON),
        metavar="E",
        help="train with differential privacy for each patient: the smaller E, the stronger; 8 is weak, 1 is "
        "strong (default: without)",
    )
    parser.add_argument("--vocabulary", type=Path, metavar="DIR", help="share the vocabulary of this model folder")
    parser.add_argument(
        "--time-to-event",
        action="store_true",
        help="a model as Delphi-2M: it is told ages, and says when the next code comes (default: one of codes alone)",
    )


def _source_options(parser: argparse.ArgumentParser, names: Sequence[str] = tuple(SOURCES)) -> None:
    for name in names:
        action = "append" if name == "reference" else "store"
        parser.add_argument(option(name), action=action, metavar=_METAVAR.get(name, "FILE"), help=SOURCES[name])


def _population_option(parser: argparse.ArgumentParser, more: str = "") -> None:
    words = f"size of the population that the patients come from: adds how many of its people fit the known facts{more}"
    parser.add_argument("--population", type=_typed(settings.POPULATION), metavar="N", help=words)


def _price_option(parser: argparse.ArgumentParser) -> None:
    words = "what questions cost, such as '0.50 EUR per 1000 questions' (or codes): adds what an attack costs"
    parser.add_argument("--price", type=_price, metavar="PRICE", help=words)


def _price(text: str) -> str:
    return _told(lambda: str(Price.read(text, "it")))


def _typed(bounds: Whole | Number) -> Callable[[str], float]:
    """What reads a typed number; argparse says which option it was given to."""
    return lambda text: _told(lambda: bounds.read(text, "it"))


def _knowledge(text: str) -> str:
    from ehrmem_widgets.attacker.facts import check_knowledge

    return _told(lambda: check_knowledge(text))


def _knowledge_levels(text: str) -> tuple[str, ...]:
    from ehrmem_widgets.attacker.facts import check_knowledge_levels

    return _told(lambda: check_knowledge_levels([one.strip() for one in text.split(",")]))


def _probe(text: str) -> str:
    return _told(lambda: probe_named(text).name)


def _told(read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except BadInput as error:
        raise argparse.ArgumentTypeError(str(error).removesuffix(".")) from None


def _data(given: str | None) -> MedsDataset:
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.samples.folders import sample_data

    return MedsDataset(given or os.environ.get("EHRMEM_DATA") or sample_data())


def _sources(arguments: argparse.Namespace) -> Sources:
    return given_sources(**{name: getattr(arguments, name, None) for name in SOURCES})


def _check_named() -> None:
    """Say at once, before a browser opens, what is certainly wrong. The notebook looks closer."""
    sources = given_sources()
    if sources.data:
        _data(sources.data)
    for folder in (sources.model, *sources.reference):
        if folder and not is_address(folder) and not sources.endpoint and not (Path(folder) / "config.json").is_file():
            raise BadInput(f"{folder!r} is not a model folder: it has no config.json.")
    for name in ("vocabulary", "sequences"):
        file = getattr(sources, name)
        if file and not Path(file).is_file():
            raise BadInput(f"There is no file {file!r}: --{name} names {SOURCES[name]}.")


def _aligned(table: pd.DataFrame) -> str:
    heads = [name.replace("_", " ") for name in table.columns]
    rows = [heads, *([one_line(str(value)) for value in row] for row in table.itertuples(index=False))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join("  ".join(f"{v:<{w}}" for v, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _refuse_to_overwrite(out: Path) -> None:
    if out.is_file() or not out.absolute().parent.is_dir():
        raise BadInput(f"The model cannot be written: {str(out)!r} is a file, or its parent folder does not exist.")
    files = {path.name for path in out.iterdir()} if out.is_dir() else set()
    others = sorted(name for name in files if name not in MODEL_FILES and not name.endswith((".safetensors", ".npz")))
    if others or (files and "training.json" not in files):
        found = f" (it holds {others[0]})" if others else ""
        raise BadInput(
            f"{str(out)!r} is not empty and not just a model that 'ehrmem train' made{found}, so it is left as it is. "
            "Name another folder."
        )


@contextmanager
def _model_folder(out: Path) -> Iterator[Path]:
    """A folder for a model that takes the place of ``out`` when all is done."""
    try:
        with whole_folder(out) as new:
            yield new
    except OSError as error:
        raise Unavailable(f"The model could not be written to {out}: {error.strerror or error}.") from error


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM (a batch system's time limit) cleans up as Ctrl-C does. Either ends as such whatever is raised in its place: DuckDB, stopped in a
    query, raises a RuntimeError."""
    stopped = False

    def interrupt(*_: object) -> NoReturn:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    heard = [signal.SIGTERM] + [signal.SIGINT] * (signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    try:
        before = {one: signal.signal(one, interrupt) for one in heard}
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    except Exception as error:
        if stopped:
            raise KeyboardInterrupt from error
        raise
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _say(sentence: str, code: int) -> int:
    say(f"ehrmem: {_shortened(one_line(sentence))}", errors=True)
    return code


def _shortened(sentence: str) -> str:
    """A name of a megabyte may stand in it: the beginning says what is wrong, the end what to do."""
    return sentence if len(sentence) <= 2 * _HALF else f"{sentence[:_HALF]} ... {sentence[-_HALF:]}"


if __name__ == "__main__":
    sys.exit(main())
