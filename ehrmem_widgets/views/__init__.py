"""A finding in, an SVG or HTML string out. Pure functions: no model, no widget state, no ipywidgets."""
