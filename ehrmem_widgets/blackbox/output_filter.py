"""What a filter before a model hides of its answers: sensitive codes that are unlikely, all but the likeliest codes, the last digits, or all
probabilities. It makes one distribution of another, and the codes are drawn from the very one that is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import model_validator

from ehrmem_widgets import settings
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.checked import LIST, Declared, Texts, checked, within
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import shown

if TYPE_CHECKING:
    from torch import Tensor

_WITHHELD = {
    "probabilities": frozenset({Query.SCORES, Query.PROBABILITIES}),
    "embeddings": frozenset({Query.EMBEDDINGS}),
}
_LISTS = ("attributes", "withhold")


class OutputFilter(Declared):
    """A filter, in the order in which it is applied; what is hidden goes to the other codes in proportion.

    ``suppress_below``: codes of ``attributes`` (all declared ones that are asked about by default, if empty) less likely than that, 1: however
    likely. ``top_k``: all but so many of the likeliest codes, and those as likely as the last of them. ``round_to``: probabilities become
    multiples of it before they are shared out. Where a step would leave nothing, the likeliest code that it may show stays. ``withhold``: what is
    not answered at all.

    >>> read_filter("top_k=10, withhold=probabilities+embeddings").text
    'top_k=10, withhold=probabilities+embeddings'
    """

    what = "output filter"
    suppress_below: Annotated[float, within(settings.SUPPRESS_BELOW)] | None = None
    attributes: Texts = ()
    top_k: Annotated[int, within(settings.TOP_K)] | None = None
    round_to: Annotated[float, within(settings.ROUND_TO)] | None = None
    withhold: Annotated[tuple[Literal["probabilities", "embeddings"], ...], LIST] = ()

    @model_validator(mode="after")
    def _hides_something(self) -> Self:
        if self.attributes and self.suppress_below is None:
            raise BadInput("attributes are those of suppress_below: give that too, such as suppress_below=0.05.")
        if not self.changes and not self.withhold:
            raise BadInput("an output filter that hides nothing: give suppress_below, top_k, round_to or withhold.")
        return self

    @property
    def changes(self) -> bool:
        """Whether it changes what the model says, beyond withholding."""
        return not (self.suppress_below is None and self.top_k is None and self.round_to is None)

    @property
    def withheld(self) -> frozenset[Query]:
        """What is not answered."""
        return frozenset[Query]().union(*(_WITHHELD[one] for one in self.withhold))

    @property
    def text(self) -> str:
        """As ``read_filter`` takes it."""
        given = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{name}={'+'.join(v) if name in _LISTS else f'{v:g}'}" for name, v in given.items())

    def __str__(self) -> str:
        of = ", ".join(self.attributes) or "sensitive attributes"
        said = (
            f"codes of {of} are hidden {'always' if self.suppress_below == 1 else f'below {self.suppress_below:g}'}"
            if self.suppress_below
            else "",
            f"only the {self.top_k:,} most likely codes are shown" if self.top_k else "",
            f"probabilities are rounded to {self.round_to:g}" if self.round_to else "",
            f"no {' and no '.join(self.withhold)}" if self.withhold else "",
        )
        return "; ".join(filter(None, said))

    def apply(self, probabilities: Tensor, sensitive: Tensor) -> Tensor:
        """(n, codes) probabilities of the next code -> those that are shown. ``sensitive``: (codes,) bool."""
        if self.suppress_below is not None:
            hidden = sensitive & ((probabilities < self.suppress_below) | (self.suppress_below == 1))
            probabilities = _shared_out(
                probabilities.masked_fill(hidden, 0), probabilities.masked_fill(sensitive, -1.0)
            )
        if self.top_k is not None and self.top_k < probabilities.shape[-1]:
            least = probabilities.topk(self.top_k, dim=-1).values[..., -1:]
            probabilities = _shared_out(probabilities.masked_fill(probabilities < least, 0), probabilities)
        if self.round_to is not None:
            probabilities = _shared_out((probabilities / self.round_to).round() * self.round_to, probabilities)
        return probabilities


def read_filter(given: object, where: str = "") -> OutputFilter:
    """A filter from names and values, or from a text such as "top_k=10, round_to=0.01" (lists with +). Raises BadInput."""
    if isinstance(given, str):
        parts = [part.partition("=") for part in given.split(",") if part.strip()]
        if odd := next((name for name, equals, _ in parts if not equals), None):
            raise BadInput(
                f"{where}{shown(odd)} in an output filter has no value. Write it as top_k=10, round_to=0.01."
            )
        given = {name.strip(): _value(name.strip(), value.strip()) for name, _, value in parts}
    return checked(OutputFilter, given, where)


def _value(name: str, text: str) -> object:
    if name in _LISTS:
        return [one.strip() for one in text.split("+")]
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def _shared_out(left: Tensor, before: Tensor) -> Tensor:
    """What is left, of sum 1; where nothing is, the likeliest code of ``before`` alone."""
    total = left.sum(dim=-1, keepdim=True)
    alone = left.new_zeros(left.shape).scatter(-1, before.argmax(dim=-1, keepdim=True), 1.0)
    return (left / total).where(total != 0, alone)  # not a number stays that, and is found out
