"""The cohort audit as a screen: choose a plan, read what it will not be able to decide, run it, and declare how severe each leak would be beside the risk
matrix, which follows."""

from __future__ import annotations

import json
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import ipywidgets as widgets

from ehrmem_widgets.audit.foreseen import Foreseen, foresee
from ehrmem_widgets.audit.plan import OWN_FOLDER, Severity, check_severities, read_plan
from ehrmem_widgets.audit.run import RESULTS, SEVERITY, command_of, open_plan, run_audit, write_severities
from ehrmem_widgets.charts.markup import VERDICT_COLOURS, duration, escape, plural
from ehrmem_widgets.errors import BadInput, Damaged, EhrmemError, Unavailable
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.probes.people import several
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_page import marks
from ehrmem_widgets.settings import WORKERS
from ehrmem_widgets.sources import refuse_all_but_samples
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.answer_bar import BarRow, share_of, verdict_bar
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.widgets.runner import LatestWins, Runner, Synchronous
from ehrmem_widgets.widgets.screen_frame import ScreenFrame

if TYPE_CHECKING:
    from ehrmem_widgets.audit.results import AuditResults
    from ehrmem_widgets.audit.run import Results

SMALL = """\
name: a small audit of the sample patients
patients: 200
holders: 20
probes: [{probes}]
knowledge_levels: [demographics, one_lab]
"""
"""What is run when no plan is named: a taste of it, with the first two tests, in a minute or two."""


class _PausedError(Exception):
    """A person pressed Pause: no fault of a test, which must not be noted as not run."""


@dataclass(frozen=True)
class _Job:
    """What is to be done: look ahead at the plan, or run it."""

    run: bool


class AuditCohort:
    """An audit's screen; shows itself as a cell's last expression.

    ``plan``: a plan file, None for a small one of the sample patients; ``out``: the results folder, None for one beside the plan (a temporary one for the
    small plan). ``live``: True shows what the plan will not be able to decide, waits for a press of a button, shows progress and lets severities be declared;
    False runs the plan (or goes on with it) at once and shows the report's summary as a static page.
    """

    def __init__(
        self, plan: str | Path | None = None, out: str | Path | None = None, *, workers: int = 1, live: bool = True
    ) -> None:
        self.workers, self._live = WORKERS.check(workers, "workers"), live
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._stop = threading.Event()
        self._runner: Runner[_Job]
        self._take(plan, out)
        if live:
            self._make_screen()
            self._runner = LatestWins(self._answers, self._show, self._fail)
            self._begin()
        else:
            self._runner = Synchronous(self._answers, self._show)
            self._runner.submit(_Job(run=True))

    def choose(self, plan: str | Path | None, out: str | Path | None = None) -> None:
        """Another plan. Raises BadInput for one that is none; the plan before then stays."""
        self._take(plan, out)
        self._begin()

    def _take(self, plan: str | Path | None, out: str | Path | None) -> None:
        if out:
            refuse_all_but_samples(out)  # a class writes to no folder of the computer that serves it
        if plan:
            file = Path(plan).expanduser()
            folder = Path(out) if out else file.with_name(f"{file.stem}_results")
        else:
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix=OWN_FOLDER)
            first = [name for name, probe in probes().items() if probe.compares][:2]
            file = Path(self._temporary.name) / "plan.yaml"
            file.write_text(SMALL.replace("{probes}", ", ".join(first)))
            folder = Path(out) if out else file.with_name("results")
        self.plan = read_plan(file)
        self.plan_file, self.out = file, folder
        self.audit: AuditResults | None = None

    def _begin(self) -> None:
        """Show what is there of the plan; else look ahead."""
        self._clear()
        if (self.out / RESULTS).exists():
            self._guarded(self._load)
        else:
            self._runner.submit(_Job(run=False))

    def run(self) -> None:
        """Run the plan, or resume it."""
        self._stop.clear()
        if self._live:
            self._error.value = ""
        self._runner.submit(_Job(run=True))

    def stop(self) -> None:
        """Stop after the batch in progress; what is done is kept."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the audit is through; False when the time ran out."""
        return self._runner.wait(timeout)

    def close(self) -> None:
        """Stop, and remove a temporary results folder."""
        self.stop()
        self._runner.close()
        if self._temporary:
            self._temporary.cleanup()

    def results(self) -> Results:
        """What ``results.json`` holds."""
        return cast("Results", json.loads((self.out / RESULTS).read_text(encoding="utf-8")))

    def severities(self) -> dict[str, Severity]:
        """What the editor says now."""
        given = {n: {"severity": s.value, "reason": r.value} for n, (s, r) in self._rows.items()}
        return check_severities(given, "The editor", self._rows)

    def save_severities(self, by: str) -> None:
        """Add what the editor says as a new version; earlier ones stay. Raises BadInput without a name or a reason."""
        import yaml

        if not by.strip():
            raise BadInput("Say who declares these severities: a name or a board.")
        saved = yaml.safe_load((self.out / SEVERITY).read_text(encoding="utf-8"))
        edited = {n: {"severity": s.severity, "reason": s.reason} for n, s in self.severities().items()}
        declared = {**saved[-1]["severities"], **edited}  # attributes not asked about keep theirs
        at = datetime.now(UTC).isoformat(timespec="seconds")
        write_severities(self.out, [*saved, {"by": by.strip(), "at": at, "severities": declared}])
        self._load()

    def page(self) -> str:
        """The answer and the summary of the report."""
        return f'<div class="ehrmem ehrmem-audit">{self.bar()}{self._summary()}</div>'

    def bar(self) -> str:
        """The answer in one glance: of how many tests each verdict is."""
        if self.audit is None:
            return self._not_run()
        told = Counter(
            line.verdict
            for name, line in self.audit.headlines.items()
            if probes()[name].compares and line.verdict is not None
        )
        tests = told.total()
        only_population = 0 < tests == told[Verdict.POPULATION]
        verdict = Verdict.CANNOT_CONCLUDE
        if told[Verdict.MEMORIZED]:
            verdict = Verdict.MEMORIZED
        elif only_population:
            verdict = Verdict.POPULATION
        rows = [
            BarRow(
                str(one),
                share_of(told[one], tests),
                VERDICT_COLOURS[one],
                shown=f"{told[one]} of {tests}",
            )
            for one in Verdict
        ]
        why = f"in {told[verdict]} of {plural(tests, 'test')} that compare people the model was trained on with people it never saw."
        marked = " ".join(marks(self.audit))
        asked = ", ".join(f"{n} {several(group)}" for group, n in self.audit.people_shown.items())
        foot = f"{escape(self.plan.name)}. Asked about: {escape(asked)}. {f'<b>{escape(marked)}</b>' if marked else ''}"
        return verdict_bar(str(verdict), why, rows, foot, about=self.plan.name, verdict=verdict)

    def _not_run(self) -> str:
        who = f"{self.plan.patients:,} people" if isinstance(self.plan.patients, int) else "the people named"
        questions = [probes()[name].full_question for name in self.plan.probes]
        asked = " ".join(f"{one[:1].upper()}{one[1:]}" for one in questions)
        command = command_of(self.plan_file, self.out, self.workers, None)
        foot = f"Seed {self.plan.seed}. The same without a screen: <code>{escape(command)}</code>"
        return verdict_bar(
            "Not run yet", f"The plan {self.plan.name!r} asks about {who}. {asked}", (), foot, about=self.plan.name
        )

    def _summary(self) -> str:
        from ehrmem_widgets.reports.audit_page import evidence, summary

        if self.audit is None:
            raise BadInput("There are no results yet.")
        # live, the matrix stands beside the severities
        return summary(self.audit) + evidence(self.audit, with_matrix=not self._live)

    # The screen ----------------------------------------------------------------------------

    def _make_screen(self) -> None:
        self._bar, self._error, self._status, self._ahead, self._view, self._matrix = (
            widgets.HTML(layout=_wide()) for _ in range(6)
        )
        self._progress = widgets.IntProgress(0, 0, 1000, layout=widgets.Layout(width="150px", visibility="hidden"))
        self._plan = widgets.Combobox(
            value="" if self._temporary else str(self.plan_file), options=_plans_here(), ensure_option=False, description="Plan",
            placeholder="a plan file; empty: a small audit of the samples", continuous_update=False, layout=widgets.Layout(flex="1 1 300px"),
            style={"description_width": "40px"}, tooltip="A YAML file. 'ehrmem audit --example' prints one to begin with.",
        )  # fmt: skip
        self._folder = widgets.Text(
            value="" if self._temporary else str(self.out), description="Results", placeholder="a folder (beside the plan)",
            continuous_update=False, layout=widgets.Layout(flex="1 1 240px"), style={"description_width": "56px"},
        )  # fmt: skip
        for field in (self._plan, self._folder):
            field.observe(lambda _: self._named(), "value")
        self._start = widgets.Button(
            description="Run", button_style="primary", tooltip="Seal and run the plan, or resume it"
        )
        stop = widgets.Button(description="Pause", tooltip="Stop after the batch in progress; what is done is kept")
        for button in (self._start, stop):
            button.layout.width = "80px"
        self._start.on_click(lambda _: self.run())
        stop.on_click(lambda _: self.stop())
        self._rows: dict[str, tuple[widgets.IntSlider, widgets.Text]] = {}
        self._by = widgets.Text(
            placeholder="name or board", description="Declared by", style={"description_width": "84px"}
        )
        save = widgets.Button(description="Save severities", tooltip="Both versions are kept")
        save.on_click(lambda _: self._guarded(lambda: self.save_severities(self._by.value)))
        self._editor = widgets.VBox([], layout=_wide())
        editor = widgets.VBox(
            [
                widgets.HTML('<h3 class="ehrmem-head">How severe would each leak be?</h3>'),
                self._editor,
                widgets.HBox([self._by, save]),
            ],
            layout=widgets.Layout(flex="1 1 480px", min_width="320px"),
        )
        matrix = widgets.VBox(
            [self._matrix], layout=widgets.Layout(flex="1 1 560px", min_width="320px", padding="0 0 0 12px")
        )
        self._beside = widgets.HBox(
            [editor, matrix], layout=widgets.Layout(display="none", width="100%", flex_flow="row wrap")
        )
        sheet = widgets.HTML(style_tag(), layout=widgets.Layout(height="0", margin="0", min_height="0"))
        line = widgets.HBox(
            [self._plan, self._folder, self._start, stop, self._progress],
            layout=widgets.Layout(width="100%", flex_flow="row wrap"),
        )
        self.box = widgets.VBox(
            [
                sheet, ScreenFrame("Audit of a cohort"), self._bar, line, self._error, self._status, self._ahead, self._beside, self._view,
            ]
        )  # fmt: skip
        self.box.add_class("ehrmem-screen")

    def _named(self) -> None:
        """A plan or a folder was named in the fields."""
        try:
            self.choose(self._plan.value.strip() or None, self._folder.value.strip() or None)
        except BadInput as error:
            self._fail(BadInput(f"{error} The plan {self.plan.name!r} is still the one below."))
            self._bar.add_class("ehrmem-old")
            self._start.disabled = True
            return
        self._bar.remove_class("ehrmem-old")
        self._start.disabled = False

    def _clear(self) -> None:
        self._error.value = self._status.value = self._ahead.value = self._view.value = ""
        self._beside.layout.display = "none"
        self._bar.value = self.bar()

    def _answers(self, job: _Job) -> Iterator[Foreseen | None]:
        from ehrmem_widgets.audit.results import AuditResults

        if not job.run:
            self._status.value = "<p>Looking what this plan can decide ...</p>"
            yield from foresee(self.plan, open_plan(self.plan), workers=self.workers)
            self._status.value = ""
            return
        command = command_of(self.plan_file, self.out, self.workers, None)
        run_audit(self.plan, self.out, workers=self.workers, command=command, progress=self._show_progress)
        self.audit = AuditResults(self.out)
        yield None
        if self._live:
            self._load()

    def _show(self, job: _Job, foreseen: Foreseen) -> None:
        first, *rest = foreseen.in_words()
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in rest)
        self._ahead.value = (
            f'<div class="ehrmem-probe" style="min-height:0"><p><b>{escape(first)}</b></p><ul>{items}</ul></div>'
        )
        self._status.value = (
            "" if foreseen.takes else "<p>Asking the model about a few people, to say how long it takes ...</p>"
        )

    def _show_progress(self, progress: Progress) -> None:
        if not self._live:
            return
        left = "" if progress.seconds_left is None else f", about {duration(progress.seconds_left)} left for this test"
        self._progress.layout.visibility = "visible"
        self._progress.value = int(1000 * progress.done / max(progress.total, 1))
        self._status.value = f"<p>{escape(progress.what)}: {progress.done:,} of {progress.total:,}{left}.</p>"
        if self._stop.is_set():
            raise _PausedError("Paused. What is done is kept; Run goes on from there.")

    def _fail(self, error: Exception) -> None:
        self._error.value = f'<div class="ehrmem-error" role="alert">{escape(error)}</div>'
        goes_on = isinstance(error, Unavailable | Damaged)
        self._status.value = "<p>Not finished: Run goes on.</p>" if goes_on else ""

    def _guarded(self, change: Callable[[], None]) -> None:
        try:
            self._error.value = ""
            change()
        except EhrmemError as error:
            self._fail(error)

    def _load(self) -> None:
        """Read the results and paint everything."""
        from ehrmem_widgets.audit.results import AuditResults

        self.audit = AuditResults(self.out)
        self._progress.layout.visibility = "hidden"
        self._ahead.value = ""
        self._bar.value = self.bar()
        self._status.value = "" if self.audit.finished else "<p>Not finished: Run goes on.</p>"
        last = self.audit.severities[-1]
        self._rows = {}
        lines = []
        for name in self.audit.attributes_asked:
            title = self.audit.title(name)
            slider = widgets.IntSlider(
                last.severity.get(name, 3), 1, 5, description=title, tooltip=title, style={"description_width": "160px"},
                layout=widgets.Layout(width="380px", margin="0"), continuous_update=False,
            )  # fmt: skip
            reason = widgets.Text(
                last.reason.get(name, ""), placeholder="why", tooltip=f"Why {title} is as severe", layout=widgets.Layout(flex="1 1 auto", margin="0"),
            )  # fmt: skip
            slider.observe(lambda _: self._paint_matrix(), "value")
            self._rows[name] = (slider, reason)
            lines.append(widgets.HBox([slider, reason], layout=_wide()))
        self._editor.children = tuple(lines)
        self._beside.layout.display = None if lines else "none"
        self._paint_matrix()
        self._view.value = f'<div class="ehrmem ehrmem-audit">{self._summary()}</div>'

    def _paint_matrix(self) -> None:
        from ehrmem_widgets.reports.audit_page import matrix_of

        assert self.audit is not None
        given = {name: slider.value for name, (slider, _) in self._rows.items()}
        saved = len(self.audit.severities)
        note = f'<p class="ehrmem-small">{saved} saved version{"s" if saved > 1 else ""}; the last by {escape(self.audit.severities[-1].by)}.</p>'
        self._matrix.value = (
            f'<div class="ehrmem">{matrix_of(self.audit, severities=given)}{note}</div>' if given else ""
        )

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        if self._live:
            return self.box._repr_mimebundle_(**kwargs)
        return {"text/html": style_tag() + self.page(), "text/plain": f"AuditCohort({self.plan.name!r})"}


def _plans_here() -> list[str]:
    """The YAML files of the working folder."""
    return sorted(path.name for path in Path().glob("*.y*ml"))[:100]


def _wide() -> widgets.Layout:
    return widgets.Layout(width="100%")
