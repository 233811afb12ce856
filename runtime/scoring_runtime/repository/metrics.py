"""The metrics of several models: those of each, with its name as the label `model`.

Counting is as for one model; the label is put on when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from scoring_runtime.metrics import Metrics, ModelCollector

if TYPE_CHECKING:
    from scoring_runtime.repository.serving import Repository

LABEL = "model"


class RepositoryMetrics(Metrics):
    """The metrics of a process with several models. What is no model's own, such as the slots, has no label."""

    def __init__(self) -> None:
        self._models: dict[str, Metrics] = {}
        self._collectors: list[tuple[str, Collector]] = []
        super().__init__()

    def of_model(self, name: str) -> Metrics:
        """Return where one model's requests and batches are counted."""
        if name not in self._models:
            self._models[name] = Metrics()
            self._collectors.append((name, self._models[name]))
        return self._models[name]

    def watch_repository(self, repository: Repository) -> None:
        """Add what is read from the models at the moment of a scrape."""
        self.watch_process(repository.load_report)
        for settings in repository.models:
            name = settings.model_name
            self._collectors.append((name, ModelCollector(repository.servings[name], settings)))

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all models; called by the registry."""
        families: dict[str, Metric] = {}
        for name, collector in self._collectors:
            for family in collector.collect():
                known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                known.samples += [one._replace(labels={**one.labels, LABEL: name}) for one in family.samples]
        yield from families.values()
