"""The builders: one module for each kind of child, each a pure function of parsed objects to a whole manifest.

Manifests are ready for server-side apply (no nulls, no status) and written the way the API server answers them, so that
"the live object contains the wanted one" is true right after an apply.
"""

from scoring_operator.resources.surroundings import BuilderSettings, IngressController, Surroundings

__all__ = ["BuilderSettings", "IngressController", "Surroundings"]
