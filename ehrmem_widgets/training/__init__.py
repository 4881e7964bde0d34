"""Training small models to audit: as usual, and with differential privacy."""
