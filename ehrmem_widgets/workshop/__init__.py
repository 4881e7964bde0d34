"""The workshop: a lesson of 90 minutes, the people and cards that it shows, and the class's results."""
