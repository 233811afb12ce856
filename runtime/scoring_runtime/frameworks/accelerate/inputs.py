"""The columns that a scikit-learn model takes, as inputs of an ONNX graph, and rows to try it with.

What a fitted estimator knows of its columns is in its first steps: the mean of a scaler, the thresholds of trees, the
categories of an encoder. Rows with a value that was not there in training are left to the original, which may refuse
them or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scoring_runtime.frameworks.accelerate.probes import ROWS, SEED, Edges, rows_of_numbers
from scoring_runtime.tensors import Array, Tensors

ROWS_INPUT = "rows"
NUMBER, WHOLE, TEXT = "double", "int64", "string"
# What may stand between two words for one tokenizer and be part of a word for another.
_BETWEEN = (" ", "  ", ", ", "-", "_", "'", "\n", "1", "ü", "é", ". ")
_WORDS = 12


@dataclass
class Column:
    """One column of the rows."""

    kind: str = NUMBER
    known: frozenset[Any] | None = None
    """The values that an encoder knows; None where there is no encoder."""
    words: tuple[str, ...] = ()
    """Of a text: those that a vectorizer knows."""
    center: float = 0.0
    width: float = 1.0


@dataclass(frozen=True)
class Inputs:
    """All columns, with their names if the model was fitted on names, and where its trees branch."""

    columns: Sequence[Column]
    names: tuple[str, ...] | None
    edges: Edges = field(default_factory=Edges)

    def feed(self, inputs: Tensors) -> dict[str, Array] | None:
        """Return prepared rows as the graph takes them; None for rows that it was not made for."""
        if self.names is None:
            array = self._checked(self.columns[0], inputs.arrays[0]) if inputs.names is None else None
            if array is None:
                return None
            return {ROWS_INPUT: array.reshape(-1, 1) if array.ndim == 1 else array}
        if inputs.names is not None:
            arrays: Sequence[Array] = inputs.arrays
        elif inputs.arrays[0].dtype.kind == "f":
            arrays = list(inputs.arrays[0].T)
        else:
            return None
        fed = {}
        for name, column, array in zip(self.names, self.columns, arrays, strict=True):
            checked = self._checked(column, array)
            if checked is None:
                return None
            fed[name] = checked.reshape(-1, 1)
        return fed

    @staticmethod
    def _checked(column: Column, array: Array) -> Array | None:
        if column.kind == TEXT:
            if array.dtype.kind != "O" or array.ndim != 1 or not all(type(cell) is str for cell in array):
                return None
        elif array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            return None
        if column.known is not None and not column.known.issuperset(array.tolist()):
            return None
        if column.kind == WHOLE:
            return array.astype(np.int64)
        return array if column.kind == TEXT else array.astype(np.float64, copy=False)

    @property
    def of_text(self) -> bool:
        """Whether the rows are texts."""
        return self.names is None and self.columns[0].kind == TEXT

    def probe(self, dtype: type[np.floating[Any]]) -> Tensors:
        """Return rows to try the model with, their numbers of a float type."""
        centers, widths = (np.array([getattr(one, name) for one in self.columns]) for name in ("center", "width"))
        rows = rows_of_numbers(centers, widths, self.edges)
        if self.names is None:
            return Tensors((_texts(self.columns[0], 0) if self.of_text else rows.astype(dtype),))
        values = (self._values(at, rows[:, at].astype(dtype)) for at in range(len(self.names)))
        return Tensors(tuple(values), self.names)

    def _values(self, at: int, numbers: Array) -> Array:
        column = self.columns[at]
        if column.known is not None:
            choice = np.array(sorted(column.known), object if column.kind == TEXT else None)
            return np.random.default_rng(SEED + at).choice(choice, ROWS)
        return _texts(column, at) if column.kind == TEXT else numbers


def _texts(column: Column, at: int) -> Array:
    chance = np.random.default_rng(SEED + at)
    words = [*(column.words or ("word",)), "unheard", "Ökonomie", "x", "42"]
    made = np.empty(ROWS, object)
    for row in range(ROWS):
        parts = []
        for word in chance.choice(words, chance.integers(0, _WORDS)):
            parts += [str(word).upper() if chance.random() < 0.2 else str(word), str(chance.choice(_BETWEEN))]
        made[row] = "".join(parts)
    return made


def inputs_of(estimator: Any, names: Sequence[str] | None, *, text: bool) -> Inputs:
    """Return what a fitted estimator takes."""
    if text:
        words = tuple(sorted(getattr(_steps(estimator)[0], "vocabulary_", {}))[:200])
        return Inputs([Column(TEXT, words=words)], None)
    count = int(estimator.n_features_in_)
    columns = [Column() for _ in range(count)]
    places = {name: at for at, name in enumerate(names or ())}
    edges = _look(estimator, [_Source(at) for at in range(count)], columns, places)
    found = Inputs(columns, None if names is None else tuple(names))
    return replace(found, edges=Edges().joined(edges))


@dataclass(frozen=True)
class _Source:
    """Which column a feature comes from, and how its values follow: value = column * factor + shift."""

    column: int | None = None
    factor: float = 1.0
    shift: float = 0.0


def _steps(estimator: Any) -> list[Any]:
    return [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]


def _look(
    estimator: Any, sources: Sequence[_Source], columns: Sequence[Column], places: Mapping[str, int]
) -> list[Edges]:
    """Write down what each step knows of the columns; return where trees branch."""
    edges: list[Edges] = []
    for step in _steps(estimator):
        if hasattr(step, "transformers_"):
            made: list[_Source] = []
            for _, transformer, chosen in step.transformers_:
                if isinstance(transformer, str):
                    if transformer == "passthrough":
                        made += [sources[at] for at in _numbers(chosen, len(sources), places)]
                    continue
                own = [sources[at] for at in _numbers(chosen, len(sources), places)]
                for part in _steps(transformer):
                    own = _through(part, own, columns)
                made += own
            sources = made
        else:
            edges += _edges(step, sources)
            sources = _through(step, sources, columns)
    return edges


def _numbers(chosen: Any, count: int, places: Mapping[str, int]) -> list[int]:
    """Return the numbers of the columns that a ColumnTransformer gives to a part."""
    if isinstance(chosen, str):
        return [places[chosen]]
    if isinstance(chosen, slice):
        return list(range(count))[chosen]
    listed = list(np.atleast_1d(np.asarray(chosen, dtype=object)))
    if listed and all(isinstance(one, bool | np.bool_) for one in listed):
        return [at for at, wanted in enumerate(listed) if wanted]
    return [places[one] if isinstance(one, str) else int(one) for one in listed]


def _through(step: Any, sources: Sequence[_Source], columns: Sequence[Column]) -> list[_Source]:
    """Note what a transformer knows of its columns, and return where its features come from."""
    if hasattr(step, "statistics_"):
        return list(sources)
    own = [(source, columns[source.column]) for source in sources if source.column is not None]
    if hasattr(step, "vocabulary_"):
        for _, column in own:
            column.kind, column.words = TEXT, tuple(sorted(step.vocabulary_)[:200])
        return []
    if hasattr(step, "categories_"):
        if len(own) == len(step.categories_):
            for (_, column), categories in zip(own, step.categories_, strict=True):
                _note_categories(column, np.asarray(categories))
        return _unknown(step)
    scale, shift = _affine(step, len(sources))
    if scale is None or shift is None or len(scale) != len(sources):
        return _unknown(step)
    return [_scaled(*one, columns) for one in zip(sources, scale.tolist(), shift.tolist(), strict=True)]


def _scaled(source: _Source, width: float, center: float, columns: Sequence[Column]) -> _Source:
    if source.column is not None and source.factor == 1 and not source.shift:
        columns[source.column].center, columns[source.column].width = center, width
    return _Source(source.column, source.factor / width, (source.shift - center) / width)


def _unknown(step: Any) -> list[_Source]:
    """Return features of which nothing is known, as many as a step makes, as far as it knows that itself."""
    try:
        return [_Source() for _ in step.get_feature_names_out()]
    except (AttributeError, ValueError):
        return []


def _note_categories(column: Column, categories: Array) -> None:
    known = frozenset(categories.tolist())
    column.known = known if column.known is None else column.known & known
    column.kind = TEXT if categories.dtype.kind in "OU" else WHOLE if categories.dtype.kind in "iub" else NUMBER


def _affine(step: Any, count: int) -> tuple[Array | None, Array | None]:
    """Return width and center of what a scaler makes (column - center) / width of."""
    if hasattr(step, "data_min_"):
        return 1 / np.asarray(step.scale_), -np.asarray(step.min_) / np.asarray(step.scale_)
    for center in ("mean_", "center_"):
        if hasattr(step, center) and hasattr(step, "scale_"):
            scale, shift = step.scale_, getattr(step, center)
            ones, zeros = np.ones(count), np.zeros(count)
            return (ones if scale is None else np.asarray(scale)), (zeros if shift is None else np.asarray(shift))
    return None, None


def _edges(step: Any, sources: Sequence[_Source]) -> list[Edges]:
    """Return where the trees of a step branch, in the values of the columns that its features come from."""
    found = []
    for features, thresholds, weights in _trees(step):
        if len(sources) <= int(features.max(initial=-1)):
            return []
        columns = np.array([-1 if source.column is None else source.column for source in sources])
        factors = np.array([source.factor for source in sources])
        shifts = np.array([source.shift for source in sources])
        values = (thresholds - shifts[features]) / factors[features]
        kept = columns[features] >= 0
        found.append(Edges(columns[features][kept], values[kept], weights[kept]))
    return found


def _trees(step: Any) -> list[tuple[Array, Array, Array]]:
    """Return features, thresholds and weights of the branches of each tree that scikit-learn has."""
    members = np.ravel(np.asarray(getattr(step, "estimators_", [step]), object))
    trees = [member.tree_ for member in members if hasattr(member, "tree_")]
    found = []
    for tree in trees:
        inner = tree.children_left >= 0
        found.append((tree.feature[inner], tree.threshold[inner], tree.n_node_samples[inner].astype(np.float64)))
    for iteration in getattr(step, "_predictors", []):
        for predictor in iteration:
            nodes = predictor.nodes[predictor.nodes["is_leaf"] == 0]
            weights = nodes["count"].astype(np.float64) + 1
            found.append((nodes["feature_idx"].astype(np.int64), nodes["num_threshold"], weights))
    return found
