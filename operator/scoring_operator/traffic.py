"""Which version gets how much of the requests: pure.

What the user wants is one thing (`wanted_shares`), what the pods allow another (`shares_in_force`): a version has its
share only while it has ready pods, and until then the default version has it. The Service of a ScoringService selects
either the router, which splits and mirrors, or the pods of one version (`plan_traffic`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from scoring_operator.spec import ScoringService, Version

ALL = 100
ROUTER = "router:"
"""What stands for the router among the targets of a Service; no version has a colon in its name."""


class Mirroring(Enum):
    """Which part of the requests can be copied to a version."""

    NONE = "none"
    ALL = "all of them"
    ANY = "any percentage"

    def can(self, percent: int) -> bool:
        """Whether `percent` of the requests can be copied."""
        return self is Mirroring.ANY or (self is Mirroring.ALL and percent == ALL)


@dataclass(frozen=True)
class Trial:
    """How the new default version and the old one share what the default version is to get."""

    old: str
    """It also has what the others cannot take, as the default version otherwise has."""
    new: str
    percent: int
    """Percent of the default version's share that the new version has; the old one has the rest."""
    barred: bool = False
    """Whether the new version was rolled back: then it also answers for nobody else."""


@dataclass(frozen=True)
class Live:
    """What of a service is there, as far as it decides where requests go."""

    ready: Collection[str] = ()
    """The versions with ready pods, those included that the spec no longer names or that sleep."""
    leaving: tuple[str, ...] = ()
    """Versions that the spec no longer names and whose pods are still there."""
    router_ready: bool = False
    """Whether a pod of the router is ready."""
    router_lingers: bool = False
    """Whether a router that is no longer needed has to stay until nobody calls it."""
    target: str | None = None
    """The version that the Service selects, or ROUTER; None while there is no Service."""
    mirroring: Mirroring = Mirroring.ANY
    """What the Gateway, if there is one, can copy."""
    trial: Trial | None = None
    """The rollout of the default version, while it has not been promoted."""
    asleep: Collection[str] = ()
    """The versions without pods because nobody calls: requests to them wait for a pod."""


@dataclass(frozen=True)
class Share:
    """What one version is given, in percent of the requests."""

    version: str
    wanted: int
    in_force: int
    mirror_wanted: int = 0
    """Percent of the requests to be copied to the version."""
    mirror_in_force: int = 0
    reason: str = ""
    """Why the share in force is not the wanted one; empty when it is."""


@dataclass(frozen=True)
class Traffic:
    """Where the requests of a service go."""

    target: str
    """The version that the Service selects, or ROUTER."""
    shares: tuple[Share, ...]
    """What holds now: the versions of the spec in their order, then those that leave and still get something."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """What the router is told: version → percent, only those above 0; adds up to 100."""
    mirrors: Mapping[str, int] = field(default_factory=dict)
    """Version → percent of the requests that the router copies to it."""
    router: bool = False
    """Whether there has to be a router."""

    def share(self, version: str) -> Share:
        """The share of a version; nothing for one that is not known."""
        return next((share for share in self.shares if share.version == version), Share(version, 0, 0))


def wanted_shares(versions: Sequence[Version]) -> dict[str, int]:
    """Version → percent as the user wants it: what the others leave of 100 goes to the default version."""
    shares = {version.name: 0 if version.default else version.traffic or 0 for version in versions}
    default = _default(versions)
    shares[default] = ALL - sum(shares.values())
    return shares


def aimed_shares(versions: Sequence[Version], trial: Trial | None) -> dict[str, int]:
    """Version → percent at this moment of a rollout, if there is one; else as the user wants it."""
    shares = wanted_shares(versions)
    if trial is not None:
        whole = shares[trial.new]
        shares[trial.new] = min(whole, max(whole * trial.percent // ALL, 1)) if trial.percent else 0
        shares[trial.old] += whole - shares[trial.new]
    return shares


def shares_in_force(versions: Sequence[Version], live: Live) -> dict[str, int]:
    """Version → percent as the pods and a rollout allow it; adds up to 100.

    No version without ready pods gets anything as long as another one has some. Where the default version itself has
    none, one that leaves stands in for it (it was there before), else the other versions do in proportion to their
    shares, else one without a share, and a mirror last of all. During a rollout the old version counts as the default.
    """
    ready, trial = live.ready, live.trial
    aimed = aimed_shares(versions, trial)
    shares = dict.fromkeys([*aimed, *live.leaving], 0)
    for name, share in aimed.items():
        if name in ready:
            shares[name] = share
    rest = ALL - sum(shares.values())
    default = trial.old if trial else _default(versions)
    if default in ready:
        shares[default] += rest
        return shares
    deputies = [name for name in live.leaving if name in ready]
    if not deputies and any(shares.values()):
        return _scaled(shares)
    able = [version for version in versions if version.name in ready and not _is_barred(version.name, trial)]
    deputies += [version.name for version in sorted(able, key=lambda version: bool(version.mirror))]
    shares[deputies[0] if deputies else default] += rest
    return shares


def plan_traffic(versions: Sequence[Version], live: Live, *, gateway: bool = False) -> Traffic:
    """Where the requests go now. With `gateway`, a Gateway splits and mirrors, and there never is a router."""
    needed = (len(versions) > 1 or any(version.sleeps for version in versions)) and not gateway
    weights = shares_in_force(versions, live)
    mirrors = {
        version.name: version.mirror
        for version in versions
        if version.mirror
        and live.mirroring.can(version.mirror)
        and version.name in live.ready
        and not weights[version.name]
    }
    target = _target(weights, live, needed=needed)
    split = target == ROUTER or gateway
    holding = weights if split else {name: ALL if name == target else 0 for name in weights}
    wanted = wanted_shares(versions)
    shares = [
        Share(
            version=version.name,
            wanted=wanted[version.name],
            in_force=holding[version.name],
            mirror_wanted=version.mirror or 0,
            mirror_in_force=mirrors.get(version.name, 0) if split else 0,
            reason=_reason(version, (wanted[version.name], holding[version.name]), live, split=split),
        )
        for version in versions
    ]
    shares += [Share(name, 0, holding[name], reason=_STANDS_IN) for name in live.leaving if holding[name]]
    return Traffic(
        target=target,
        shares=tuple(shares),
        weights={name: share for name, share in weights.items() if share},
        mirrors=mirrors,
        router=needed or (live.router_lingers and not gateway),
    )


def traffic_of(service: ScoringService, live: Live) -> Traffic:
    """Where the requests of `service` go now."""
    return plan_traffic(service.versions, live, gateway=service.gateway is not None)


def traffic_text(shares: Sequence[Share]) -> str:
    """The shares in one line, such as `v1=90,v2=10`; where wanted and in force differ, `v1=100 (wants 90)`."""
    return ",".join(_share_text(share) for share in shares)


_STANDS_IN = "is no longer in the spec, and answers until the default version has ready pods"


def _default(versions: Sequence[Version]) -> str:
    return next(version.name for version in versions if version.default)


def _is_barred(version: str, trial: Trial | None) -> bool:
    return trial is not None and trial.barred and trial.new == version


def _scaled(shares: Mapping[str, int]) -> dict[str, int]:
    """The shares blown up to 100 together, by largest remainder; what has nothing gets nothing."""
    total = sum(shares.values())
    scaled = {name: share * ALL // total for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: -(shares[name] * ALL % total))
    for name in by_remainder[: ALL - sum(scaled.values())]:
        scaled[name] += 1
    return scaled


def _target(weights: Mapping[str, int], live: Live, *, needed: bool) -> str:
    """What the Service selects: the router once it is ready, until then the version that answers now."""
    if needed and live.router_ready:
        return ROUTER
    holder = max(weights, key=lambda name: weights[name])
    if not needed or live.target is None:
        return holder
    if live.target in live.ready and live.target in weights:
        return live.target  # until the router takes over, the split does not move
    return ROUTER if live.target == ROUTER and holder not in live.ready else holder


def _reason(version: Version, share: tuple[int, int], live: Live, *, split: bool) -> str:
    """Why what a version has differs from what is wanted; `share` is (wanted, in force)."""
    wanted, in_force = share
    if wanted > in_force and version.name not in live.ready:
        return "its share of the traffic waits for ready pods"
    if version.mirror and not live.mirroring.can(version.mirror):
        return _NO_COPIES[live.mirroring]
    if version.mirror and version.name not in live.ready:
        return "nothing is mirrored to it until it has ready pods"
    if not split and (wanted != in_force or version.mirror):
        return _ALONE
    if live.trial is not None and wanted != in_force and version.name in (live.trial.old, live.trial.new):
        return _trial_reason(version.name, live.trial)
    return "it answers for versions without ready pods" if in_force > wanted else ""


_NO_COPIES = {
    Mirroring.NONE: "the Gateway cannot copy requests: write ingress instead of gateway to mirror them",
    Mirroring.ALL: "the Gateway can copy all of the requests or none: write mirror: 100, or ingress instead of gateway",
}


def _trial_reason(version: str, trial: Trial) -> str:
    if version == trial.old:
        return f"it has what {trial.new} does not have"
    return "it was rolled back" if trial.barred else "its share grows step by step"


_ALONE = "the shares wait for the router to be ready"


def _share_text(share: Share) -> str:
    text = f"{share.version}={share.in_force}"
    if share.in_force != share.wanted:
        text += f" (wants {share.wanted})"
    if share.mirror_wanted:
        waits = "" if share.mirror_in_force else " waits"
        text += f" (mirror {share.mirror_wanted}{waits})"
    return text
