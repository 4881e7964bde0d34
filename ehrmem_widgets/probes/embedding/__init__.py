"""T3: can an attribute be read from the embedding of a prompt?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.settings import CONTINUATIONS, CONTINUED_BY, FOLDS, HORIZON, SAMPLES_EACH

PROBE = Probe(
    name="embedding",
    test="T3",
    title="Reading the embedding",
    question="can an attribute be read from the embedding of a prompt?",
    run="ehrmem_widgets.probes.embedding.ask:Embedding",
    view="ehrmem_widgets.probes.embedding.show:EmbeddingView",
    order=40,
    knowledge_levels=("lab_values",),
    one_level=True,
    options={
        "attributes": Option(None),
        "folds": Option(5, FOLDS.check),
        "samples": Option(CONTINUATIONS, SAMPLES_EACH.check),
        "horizon": Option(CONTINUED_BY, HORIZON.check),
    },
    bears_on=("inference",),
)
