"""A results code carries the answers, a mistyped one is refused in words, and a class is drawn without pointing at anybody."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.statistics.disclosure import FEWEST
from ehrmem_widgets.workshop.class_results import class_results, in_words, page, read_codes
from ehrmem_widgets.workshop.lesson import lesson
from ehrmem_widgets.workshop.results import ALPHABET, ITEMS, Answers, Quiz, decode, encode


def any_quiz(chance: random.Random) -> Quiz:
    def answers() -> Answers:
        return tuple(chance.choice((0, 1, 2, 3, None)) for _ in range(ITEMS))

    return Quiz(answers(), answers())


def a_class(n: int) -> list[Quiz]:
    """Half of them know nothing before; all know everything after but one in three, who misses the first item."""
    right = tuple(item.right for item in lesson().quiz)
    wrong = tuple((one + 1) % 4 for one in right)
    return [Quiz(right if i % 2 else wrong, (wrong[:1] if i % 3 == 0 else right[:1]) + right[1:]) for i in range(n)]


def test_the_quiz_has_as_many_items_as_a_code_holds() -> None:
    assert len(lesson().quiz) == ITEMS and all(len(item.options) == 4 for item in lesson().quiz)
    assert 0 < lesson().version < 32


def test_every_code_gives_its_answers_back_however_it_was_typed() -> None:
    chance = random.Random(0)
    for quiz in (any_quiz(chance) for _ in range(300)):
        code = encode(quiz)
        assert len(code) == 14 and decode(code) == quiz
        typed = (
            code.replace("0", "o").replace("1", chance.choice("iIlL")).lower().replace("-", chance.choice(("", " ")))
        )
        assert decode(f" {typed} ") == quiz


def test_any_single_wrong_character_is_refused_with_its_group() -> None:
    code = encode(any_quiz(random.Random(1)))
    for place, was in enumerate(code):
        for other in ALPHABET if was != "-" else "":
            if other != was:
                with pytest.raises(BadInput, match=f"its {('first', 'second', 'third')[place // 5]} group"):
                    decode(code[:place] + other + code[place + 1 :])


def test_nearly_every_pair_of_swapped_characters_is_refused() -> None:
    chance, missed = random.Random(2), 0
    for _ in range(300):
        code = encode(any_quiz(chance)).replace("-", "")
        place = chance.randrange(11)
        swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
        if swapped != code:
            try:
                decode(swapped)
                missed += 1
            except BadInput:
                pass
    assert missed == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("11R3-W5DT", "has 3 groups of 4 characters"),
        ("", "has 0 characters"),
        ("U1R3-W5DT-AHKH", "its first group, 'U1R3'. Ask for that group again"),
        ("11R4-W5DX-AHKH", "its first group, '11R4' and its second group, 'W5DX'. Ask for them again"),
        ("W5DT-11R3-AHKH", "its first group, 'W5DT' and its second group"),
    ],
)
def test_a_mistyped_code_is_refused_in_words(typed: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        decode(typed)
    assert said in str(caught.value)


def test_a_code_of_another_lesson_is_refused() -> None:
    with pytest.raises(BadInput, match="comes from version 9 of the lesson"):
        decode(encode(any_quiz(random.Random(3)), version=9))


def test_a_class_is_compared_pairwise_with_intervals() -> None:
    found = class_results(a_class(30))
    assert found.n == 30 and len(found.items) == ITEMS
    assert found.whole.before.value == pytest.approx(0.5)
    assert found.whole.after.value == pytest.approx(1 - 10 / 30 / 6)
    assert found.whole.gain is not None and found.whole.gain.value == pytest.approx(0.5 - 1 / 18)
    assert 0 < found.whole.gain.low < found.whole.gain.value < found.whole.gain.high
    gains = [one.gain for one in found.items]
    assert gains[0] is None  # 10 people are wrong after it
    assert all(gain is not None and gain.value == 0.5 and gain.n == 30 for gain in gains[1:])


def test_a_small_class_is_shown_in_all_only() -> None:
    found = class_results(a_class(FEWEST - 1))
    assert found.items == () and "single questions are not shown" in in_words(found)
    assert lesson().quiz[0].words not in page(found)


def test_who_did_not_answer_both_times_is_left_out_of_an_item() -> None:
    quizzes = a_class(24)
    quizzes[1] = Quiz((None,) * ITEMS, quizzes[1].after)
    assert class_results(quizzes).n == 23
    with pytest.raises(BadInput, match="nothing to compare"):
        class_results([quizzes[1]])


def test_the_command_reads_a_file_and_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = tmp_path / "codes.txt"
    codes.write_text("# the morning\n" + "\n".join(f"{encode(one)}  # seat {i}" for i, one in enumerate(a_class(24))))
    out = tmp_path / "class.html"
    assert main(["workshop-results", str(codes), "--out", str(out)]) == 0
    said, written = capsys.readouterr().out, out.read_text()
    assert "24 participants" in said and "24 participants" in written and "<script" not in written
    assert "withheld" in said and "seat" not in written
    assert main(["workshop-results", "11R3-W5DX-AHKH"]) == 2
    assert "its second group, 'W5DX'" in capsys.readouterr().err
    assert main(["workshop-results", str(tmp_path / "none.txt")]) == 2
    assert "There is no file" in capsys.readouterr().err


def test_every_mistyped_code_of_a_class_is_named_at_once() -> None:
    good = encode(a_class(1)[0])
    with pytest.raises(BadInput) as caught:
        read_codes([good, "11R3-W5DX-AHKH", "11R4-W5DT-AHKH"])
    assert len(str(caught.value).splitlines()) == 2
