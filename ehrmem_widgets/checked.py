"""What people and programs hand in (plans, token schemes, requests), checked against a declared form and refused in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from textwrap import shorten
from typing import Annotated, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import NAMES_BEFORE, Number, Whole, shown


class Declared(BaseModel):
    """A form whose fields are all that can be said: no other key, no text for a number, no true for 1, no NaN. ``what`` has such keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    what: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: object) -> object:
        """Says which keys there are and which is meant, which pydantic's own refusal cannot."""
        if not isinstance(given, Mapping | cls):
            keys = shorten(", ".join(cls.model_fields), 180, placeholder=" ...")
            raise expected(f"names and values, of the names {keys}")
        for key in given if isinstance(given, Mapping) else ():
            if key not in cls.model_fields:
                raise BadInput(f"{shown(key)} is an unknown {cls.what} key.{meant(key, cls.model_fields)}")
        return given


Form = TypeVar("Form", bound=Declared)
LIST = BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given)
"""For a tuple: files and JSON have lists."""
Texts = Annotated[tuple[str, ...], LIST]


def checked(form: type[Form], given: object, where: str = "", context: object = None) -> Form:
    """What was given, in its form. Raises BadInput for the first thing that does not fit; ``where`` begins the sentence.

    >>> class Dose(Declared):
    ...     what = "dose"
    ...     milligrams: int
    >>> checked(Dose, {"milligrams": True}, "dose.yaml: ")
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: dose.yaml: milligrams must be a whole number; got True.
    >>> checked(Dose, {"miligrams": 1}, "dose.yaml: ")
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: dose.yaml: 'miligrams' is an unknown dose key. Is 'milligrams' meant?
    """
    try:
        return form.model_validate(given, context=context)
    except ValidationError as error:
        raise BadInput(where + _sentence(error.errors(include_url=False), given)) from None


def expected(words: str) -> PydanticCustomError:
    """For a validator to raise: the sentence says which field must be ``words``, and what was given."""
    return PydanticCustomError("expected", "{words}", {"words": words})


def expecting(words: str) -> WrapValidator:
    """Says what a field must be in words of its own; what is wrong inside a mapping or a list says more, and stays."""

    def check(given: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(given)
        except ValidationError as error:
            inside = error.errors()[0]["loc"]
            if inside and (isinstance(given, Mapping) or (isinstance(given, list) and isinstance(inside[0], int))):
                raise
            raise expected(words) from None

    return WrapValidator(check)


def within(bounds: Whole | Number) -> PlainValidator:
    """A number that people set, with its bounds, as the type of a field."""

    def check(given: object) -> float:
        try:
            return bounds.check(given, "")
        except BadInput:
            raise expected(str(bounds)) from None

    return PlainValidator(check)


def meant(given: object, known: Collection[str]) -> str:
    """A hint at the name that may be meant; the known ones where there is no such, as many as fit into a sentence.

    >>> meant("rungs", ["seed", "knowledge_levels"]), meant("sed", ["seed", "knowledge_levels"])
    (" It is called 'knowledge_levels' now.", " Is 'seed' meant?")
    """
    now = NAMES_BEFORE.get(given) if isinstance(given, str) else None
    if now in known:
        return f" It is called {now!r} now."
    near = difflib.get_close_matches(given[:99], known, n=1) if isinstance(given, str) else []  # its time grows fast
    return f" Is {near[0]!r} meant?" if near else f" Known are {shorten(', '.join(known), 180, placeholder=' ...')}."


_TYPES = {
    "string_type": "a text (put quotes around it)",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "names and values",
}


def _sentence(errors: list[ErrorDetails], content: object) -> str:
    error = errors[0]
    if error["type"] == "value_error":  # raised by a validator of ours, in words
        return str(error["ctx"]["error"])
    if error["type"] == "missing":
        missing = [_place(other, content) for other in errors if other["type"] == "missing"]
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
    words = _TYPES.get(error["type"]) or error["msg"].removeprefix("Input should be ")
    return f"{_place(error, content)} must be {words}; got {shown(error['input'])}."


def _place(error: ErrorDetails, content: object) -> str:
    """Where it stands in what was given, the innermost first: the severity of hiv."""
    names: list[str] = []
    for step in error["loc"]:
        inside = dict(enumerate(content)) if isinstance(content, list) else content
        if isinstance(inside, Mapping) and step in inside:
            names.insert(0, _name(step, content))
            content = inside[step]
        elif error["type"] == "missing" and step is error["loc"][-1]:
            names.insert(0, _name(step, content))
        # else the member of a union, which pydantic names as well
    return ("the " if len(names) > 1 and names[0].isidentifier() else "") + (" of ".join(names) or "It")


def _name(step: str | int, content: object) -> str:
    if isinstance(content, list) and isinstance(step, int):
        return f"item {step + 1}"
    return step if isinstance(step, str) and step.isidentifier() else shown(step)
