"""The cohort audit as a screen: run it, watch it, and declare how severe each leak would be while the risk matrix follows."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import ipywidgets as widgets

from ehrmem_widgets.audit.plan import Severity, check_severities, read_plan
from ehrmem_widgets.audit.run import RESULTS, SEVERITY, command_of, run_audit, write_severities
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.errors import BadInput, Damaged, EhrmemError, Unavailable
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.registry import probes
from ehrmem_widgets.settings import WORKERS
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.widgets.keep_keys import KeepKeys
from ehrmem_widgets.widgets.runner import LatestWins, Runner, Synchronous

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


class AuditCohort:
    """An audit's screen; shows itself as a cell's last expression.

    ``plan``: a plan file, None for a small one of the sample patients; ``out``: the results folder, None for a temporary one.
    ``live``: True waits for a press of a button, shows progress and lets severities be declared; False runs the plan (or goes on
    with it) at once and shows the report's summary as a static page.
    """

    def __init__(
        self, plan: str | Path | None = None, out: str | Path | None = None, *, workers: int = 1, live: bool = True
    ) -> None:
        self.workers, self._live = WORKERS.check(workers, "workers"), live
        self._temporary = None if plan and out else tempfile.TemporaryDirectory(prefix="ehrmem-audit-")
        folder = Path(self._temporary.name) if self._temporary else Path()
        if plan is None:
            first = [name for name, probe in probes().items() if probe.compares][:2]
            (folder / "plan.yaml").write_text(SMALL.replace("{probes}", ", ".join(first)))
        self.plan_file = Path(plan) if plan else folder / "plan.yaml"
        self.out = Path(out) if out else folder / "results"
        self.plan = read_plan(self.plan_file)
        self.audit: AuditResults | None = None
        self._stop = threading.Event()
        self._runner: Runner[int]
        if live:
            self._make_screen()
            self._runner = LatestWins(self._answers, self._show, self._fail)
            if (self.out / RESULTS).exists():
                self._load()
        else:
            self._runner = Synchronous(self._answers, self._show)
            self._runner.submit(0)

    def run(self) -> None:
        """Run the plan, or resume it."""
        self._stop.clear()
        if self._live:
            self._error.value = ""
        self._runner.submit(0)

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
        """The summary of the report."""
        from ehrmem_widgets.reports.audit_page import marks, summary

        if self.audit is None:
            raise BadInput("There are no results yet.")
        said = "".join(f'<p role="alert"><b>{escape(one)}</b></p>' for one in marks(self.audit))
        with_matrix = not self._live  # live, it stands under the editor
        return f'<div class="ehrmem ehrmem-audit">{said}{summary(self.audit, with_matrix=with_matrix)}</div>'

    # The screen ----------------------------------------------------------------------------

    def _make_screen(self) -> None:
        self._error, self._status, self._view, self._matrix = (widgets.HTML(layout=_wide()) for _ in range(4))
        self._bar = widgets.IntProgress(0, 0, 1000, layout=widgets.Layout(width="360px", visibility="hidden"))
        start = widgets.Button(description="Run", button_style="primary", tooltip="Run the plan, or resume it")
        stop = widgets.Button(description="Pause", tooltip="Stop after the batch in progress; what is done is kept")
        start.on_click(lambda _: self.run())
        stop.on_click(lambda _: self.stop())
        self._rows: dict[str, tuple[widgets.IntSlider, widgets.Text]] = {}
        self._by = widgets.Text(
            placeholder="name or board", description="Declared by", style={"description_width": "100px"}
        )
        save = widgets.Button(description="Save severities", tooltip="Both versions are kept")
        save.on_click(lambda _: self._guarded(lambda: self.save_severities(self._by.value)))
        self._editor = widgets.VBox([], layout=_wide())
        self._editor_box = widgets.VBox(
            [widgets.HTML("<h3>How severe would each leak be?</h3>"), self._editor, widgets.HBox([self._by, save])],
            layout=widgets.Layout(display="none"),
        )
        title = f'{style_tag()}<h2 class="ehrmem-head">Audit of a cohort: {escape(self.plan.name)}</h2>{self._plan_in_words()}'
        self.box = widgets.VBox(
            [
                widgets.HTML(title), widgets.HBox([start, stop, self._bar]), self._error, self._status,
                self._editor_box, self._matrix, self._view, KeepKeys(),
            ]
        )  # fmt: skip
        self.box.add_class("ehrmem-screen")

    def _plan_in_words(self) -> str:
        who = f"{self.plan.patients} people" if isinstance(self.plan.patients, int) else "the people named"
        asked = "; ".join(probes()[name].full_question for name in self.plan.probes)
        command = command_of(self.plan_file, self.out, self.workers, None)
        return (
            f'<p class="ehrmem-small">Asks {escape(who)} with seed {self.plan.seed}: {escape(asked)} The same without a screen: '
            f"<code>{escape(command)}</code></p>"
        )

    def _answers(self, _: int) -> Iterator[None]:
        from ehrmem_widgets.audit.results import AuditResults

        command = command_of(self.plan_file, self.out, self.workers, None)
        run_audit(self.plan, self.out, workers=self.workers, command=command, progress=self._show_progress)
        self.audit = AuditResults(self.out)
        yield None
        if self._live:
            self._load()

    def _show(self, _: int, __: object) -> None:
        """The screen is painted by ``_load``."""

    def _show_progress(self, progress: Progress) -> None:
        if not self._live:
            return
        left = "" if progress.seconds_left is None else f", about {_in_words(progress.seconds_left)} left for this test"
        self._bar.layout.visibility = "visible"
        self._bar.value = int(1000 * progress.done / max(progress.total, 1))
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
        self._bar.layout.visibility = "hidden"
        self._status.value = "<p>Done.</p>" if self.audit.finished else "<p>Not finished: Run goes on.</p>"
        last = self.audit.severities[-1]
        self._rows = {}
        lines = []
        for name in self.audit.attributes_asked:
            slider = widgets.IntSlider(
                last.severity.get(name, 3), 1, 5, description=self.audit.title(name), style={"description_width": "260px"},
                layout=widgets.Layout(width="460px"), continuous_update=False,
            )  # fmt: skip
            reason = widgets.Text(last.reason.get(name, ""), placeholder="why", layout=widgets.Layout(flex="1 1 auto"))
            slider.observe(lambda _: self._paint_matrix(), "value")
            self._rows[name] = (slider, reason)
            lines.append(widgets.HBox([slider, reason], layout=_wide()))
        self._editor.children = tuple(lines)
        self._editor_box.layout.display = "" if lines else "none"
        self._paint_matrix()
        self._view.value = self.page()

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


def _in_words(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _wide() -> widgets.Layout:
    return widgets.Layout(width="100%")
