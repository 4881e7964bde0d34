"""One HTML file in which small models really run: the page's own JavaScript, and what Python packs into it."""
