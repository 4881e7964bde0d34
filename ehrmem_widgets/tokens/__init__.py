"""How models write records: vocabularies, token schemes, and the tokens of a record or of one that was written elsewhere."""
