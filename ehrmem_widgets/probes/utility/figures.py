"""The names of what is measured: apart from the asking, so that a page about results needs no torch."""

LOSS, RECALL = "loss", "recall@10"
TOP = 10
