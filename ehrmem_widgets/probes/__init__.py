"""Probes: questions put to a black box, whose answers become findings. No widget code, no torch."""
