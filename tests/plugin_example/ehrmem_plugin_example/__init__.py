"""An example of a package that adds to ehrmem: a probe, a black box, a token scheme and a file of sensitive attributes."""

from pathlib import Path

TOKEN_SCHEME = Path(__file__).with_name("token_scheme.yaml")
ATTRIBUTES = Path(__file__).with_name("attributes.yaml")
