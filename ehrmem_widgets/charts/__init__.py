"""The primitives of all charts: rows on one axis, lines with bands, a map, a table. They know estimates and no probe."""
