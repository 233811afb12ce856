"""Which routes a server has, and whose they are: those of one model, or of several and of what they have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from scoring_runtime.errors import not_loaded
from scoring_runtime.protocols import Routes, ScoringRoute, ServedModel, routes_of, routes_of_all, routes_of_one
from scoring_runtime.protocols.call import Described
from scoring_runtime.protocols.routes import Operation
from scoring_runtime.repository.serving import Repository
from scoring_runtime.serving import Serving
from scoring_runtime.settings import Settings


class Site(NamedTuple):
    """One model's settings, the routes that are its own, and what answers on them."""

    settings: Settings
    routes: Routes
    serving: Serving


class Map(NamedTuple):
    """All routes: of each model, of all together, and as they are described."""

    sites: tuple[Site, ...]
    common: Routes
    described: Routes


def map_of(settings: Settings, model: Serving | Repository) -> Map:
    """Return the routes of a server."""
    if isinstance(model, Repository):
        return _several(model)
    routes = routes_of(ServedModel(settings.model_name, settings.model_version))
    return Map((Site(settings, routes, model),), Routes((), ()), routes)


def _several(repository: Repository) -> Map:
    sites = tuple(
        Site(
            one,
            routes_of_one(ServedModel(one.model_name, one.model_version), one is repository.models[0]),
            repository.servings[one.model_name],
        )
        for one in repository.models
    )
    common = routes_of_all(list(repository.servings))
    described = Routes(
        tuple(_of(route, site.serving) for site in sites for route in site.routes.scoring),
        (*common.reading, *(route for site in sites for route in site.routes.reading)),
    )
    return Map(sites, common, described)


def _of(route: ScoringRoute, serving: Serving) -> ScoringRoute:
    """Return a route that is described by its own model, not by the one that the description begins with."""

    def describe(_: Described) -> Operation:
        if serving.model is None:
            raise not_loaded()
        return route.describe(serving.model)

    return replace(route, describe=describe)
