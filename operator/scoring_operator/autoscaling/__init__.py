"""The number of a version's pods follows its load: `decision` says how many, the rest finds out and carries out."""
