"""A black box: every code is as likely as any other. `--model uniform:64` reads at most 64 codes."""

import numpy as np

from ehrmem_widgets.blackbox.folder import folder_vocabulary
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.samples.folders import sample_model


def open_uniform(named: str) -> MarkovChain:
    """A model over the codes of the sample models, of the given context length."""
    vocabulary = folder_vocabulary(sample_model())
    model = MarkovChain(np.full((len(vocabulary),) * 2, 1 / len(vocabulary)), vocabulary)
    model.context_length = int(named or 64)
    return model
