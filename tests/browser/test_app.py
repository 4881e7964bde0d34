"""``ehrmem app``: the screens as pages without code, in a real browser that reaches nothing but this computer."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.browser.lab import NOTEBOOKS, Visitor, serving, visit
from tests.browser.npm import from_npm

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).parent / "screenshots"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(
        [sys.executable, "-m", "ehrmem_widgets.cli", "app", "--no-browser"], tmp_path_factory.mktemp("home")
    ) as found:
        yield found


@pytest.fixture(scope="module")
def visitor(address: str, chromium: Any) -> Iterator[Visitor]:
    with visit(chromium, address, first=True) as opened:
        opened.page.set_viewport_size({"width": 1280, "height": 800})
        SHOTS.mkdir(exist_ok=True)
        yield opened
        assert opened.errors == []
        assert opened.outside == []


def test_it_is_private(address: str) -> None:
    assert re.match(r"http://127\.0\.0\.1:\d+/\?token=[0-9a-f]{48}$", address)
    for path in ("", "/voila/render/01_explore_patient.ipynb", "/api/kernels"):
        try:
            shown = urlopen(address.split("/?")[0] + path, timeout=20)
        except HTTPError as refused:
            assert refused.code in (403, 404, 405)
        else:
            assert "/login?" in shown.url  # it asks for the token


def test_the_first_page_lists_the_screens(visitor: Visitor) -> None:
    page = visitor.page
    links = page.get_by_role("link").all_inner_texts()
    assert (
        len(links) == len(list(NOTEBOOKS.glob("[0-9]*.ipynb")))
        and links[0] == "What would the model give away about one patient?"
    )
    page.evaluate(from_npm("axe-core@4", "axe.min.js"))
    for theme in ("dark", "light"):
        page.emulate_media(color_scheme=theme)
        found = page.evaluate("axe.run()")
        assert len(found["passes"]) > 8 and found["violations"] == []
        page.screenshot(path=SHOTS / f"app_{theme}.png")


def test_the_main_screen_fills_the_window_and_answers_without_a_cell_or_a_menu(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("link").first.click(no_wait_after=True)
    page.get_by_text("Patients and models are being opened").wait_for(timeout=20_000)
    visitor.settled(480)
    tour = page.locator(".em-tour")  # the first visit begins with it
    assert "1 of 6" in tour.inner_text()
    page.keyboard.press("Enter")  # "Next" has the focus
    assert "2 of 6" in tour.inner_text()
    tour.get_by_role("button", name="End").click()
    page.screenshot(path=SHOTS / "app_main.png")
    assert page.locator(".jp-InputArea:visible, .jp-InputPrompt:visible, .jp-MenuBar, .lm-MenuBar").count() == 0
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight + 1")
    assert page.evaluate(
        "Math.abs(document.querySelector('.em-main').getBoundingClientRect().height - innerHeight) < 12"
    )
    page.locator(".em-levels input[value=age_sex]").check(force=True)
    page.wait_for_function(
        "(document.querySelector('.ehrmem-status')?.dataset || {}).knowledge === 'age_sex'", timeout=60_000
    )
    visitor.settled(120)


def kernels() -> list[psutil.Process]:
    """The kernels that servers of this test run."""
    return [one for one in psutil.Process().children(recursive=True) if "ipykernel_launcher" in " ".join(one.cmdline())]


def test_a_dead_kernel_is_seen_and_one_button_brings_the_question_back(visitor: Visitor) -> None:
    page, patient = visitor.page, visitor.status()["patient"]
    for one in kernels():
        one.kill()
    page.locator(".em-dead").wait_for(timeout=120_000)
    assert page.locator(".em-main.em-not-live").count() == 1
    assert page.locator(".em-facts input:enabled").count() == 0
    page.screenshot(path=SHOTS / "app_dead.png")
    page.get_by_role("button", name="Restore").click(no_wait_after=True)
    page.wait_for_function(
        "who => { const d = document.querySelector('.ehrmem-status')?.dataset; return d && d.state === 'settled' && d.knowledge === 'age_sex' && d.patient === who; }",
        arg=patient,
        timeout=480_000,
    )
    assert not page.locator(".em-tour").is_visible() and not page.locator(".em-dead").is_visible()
    page.get_by_role("button", name="Screens").click()
    assert page.locator(".em-pop:popover-open a").count() >= 6
    page.keyboard.press("Escape")


def test_a_kernel_that_the_server_ended_is_seen_and_the_patient_goes_along_to_the_next_screen(
    visitor: Visitor, address: str
) -> None:
    page, patient = visitor.page, visitor.status()["patient"]
    server, token = address.split("/?token=")
    with page.expect_request(re.compile(r"/api/kernels/[0-9a-f-]+$"), timeout=120_000) as asked:
        pass
    # Ended as by the culler of idle kernels: nobody is told.
    ended = Request(asked.value.url, method="DELETE", headers={"Authorization": f"token {token}"})
    assert urlopen(ended, timeout=60).status == 204
    page.locator(".em-dead").wait_for(timeout=120_000)
    page.goto(f"{server}/voila/render/02_embedding_neighbours.ipynb")
    page.locator(f".ehrmem-neighbours-screen[data-patient='{patient}']").wait_for(timeout=480_000)
    assert f"Taken along from the screen before: patient {patient}" in page.locator("body").inner_text()


def test_what_is_no_screen_is_said_in_words(visitor: Visitor, address: str) -> None:
    page = visitor.page
    page.goto(address.split("/?")[0] + "/voila/render/99_nothing.ipynb")
    assert "There is no such screen" in page.locator("body").inner_text()


@pytest.fixture(scope="module")
def classroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app as a teacher starts it for a class."""
    home = tmp_path_factory.mktemp("classroom")
    (home / "password").write_text("correct horse\n")
    start = "import sys; from ehrmem_widgets import cli; sys.exit(cli.main(sys.argv[1:]))"
    words = ["app", "--no-browser", "--host", "0.0.0.0", "--password-file", str(home / "password")]
    with serving([sys.executable, "-c", start, *words], home) as found:
        yield f"http://127.0.0.1:{found.split(':')[2].split('/')[0]}"


def test_a_class_needs_the_password_and_sees_nothing_but_the_samples(
    classroom: str, chromium: Any, tmp_path: Path
) -> None:
    for path in ("/voila/render/08_your_model.ipynb", "/voila/tree", "/voila/api/contents"):
        try:
            shown = urlopen(classroom + path, timeout=60)
        except HTTPError as refused:
            assert refused.code in (403, 404)
        else:
            assert "/login?" in shown.url
    with visit(chromium, classroom) as opened:
        page = opened.page
        for typed in ("wrong horse", "correct horse"):
            assert "kernel" not in page.content().lower() and "jupyter" not in page.inner_text("body").lower()
            page.get_by_label("Password of the class").fill(typed)
            page.get_by_role("button", name="Open the screens").click()
        page.get_by_text("The patients are made up").wait_for()
        assert page.request.get(f"{classroom}/voila/files/01_explore_patient.ipynb").status == 403
        assert page.request.get(f"{classroom}/voila/render/..%2f..%2fetc%2fpasswd").status in (403, 404)
        assert page.request.get(f'{classroom}/voila/render/01_explore_patient.ipynb?theme="><script>').status == 404

        page.goto(
            f"{classroom}/voila/render/08_your_model.ipynb?data=/etc&model=/etc&template=lab", wait_until="commit"
        )
        check = page.get_by_role("button", name="Check", exact=True)
        check.wait_for(timeout=480_000)
        assert (
            "data_samples/cohort" in page.get_by_role("textbox").first.input_value()
        )  # what the address says is no parameter
        kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
        page.get_by_role("textbox").nth(1).fill(str(tmp_path))
        page.keyboard.press("Tab")
        check.click()
        page.get_by_text("Only the sample patients and models are shown here").wait_for(timeout=120_000)

        mark = tmp_path / "written"  # code sent to the kernel's own address is not run
        answers = page.evaluate(SEND, [kernel, f"open({str(mark)!r}, 'w')"])
        assert "kernel_info_reply" in answers and "execute_reply" not in answers and not mark.exists()
        assert opened.errors == [] and opened.outside == []


SEND = """([kernel, code]) => new Promise(done => {
    const heard = [], socket = new WebSocket(`ws://${location.host}/api/kernels/${kernel}/channels`);
    const send = (kind, content) => socket.send(JSON.stringify({header: {msg_id: kind, msg_type: kind, username: '', session: 'x', version: '5.3', date: new Date().toISOString()},
        parent_header: {}, metadata: {}, content, channel: 'shell', buffers: []}));
    socket.onmessage = message => { if (typeof message.data === 'string') heard.push(JSON.parse(message.data).header.msg_type); };
    socket.onopen = () => { send('execute_request', {code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false}); send('kernel_info_request', {}); };
    const end = Date.now() + 60000;
    const look = () => heard.includes('kernel_info_reply') || Date.now() > end ? setTimeout(() => { socket.close(); done(heard); }, 1500) : setTimeout(look, 100);
    look();
})"""
