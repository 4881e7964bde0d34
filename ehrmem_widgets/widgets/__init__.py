"""Widgets that hold what the user has chosen and show what comes back; no probe logic lives here."""
