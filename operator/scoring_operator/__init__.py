"""The control plane: one ScoringService becomes a secured, observable endpoint for a trained model."""

__version__ = "0.1.0"
