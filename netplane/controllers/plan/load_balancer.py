"""Addresses for Services of type LoadBalancer, from a pool: one per family that the Service has and the pool knows.

An address once given stays, through restarts too, until the Service goes, changes its type, asks for another one with
spec.loadBalancerIP, or turns out to have it together with an older Service that does not share. One is free again as
soon as no status carries it.
"""

from netplane.api.objects import Service
from netplane.controllers.plan import backends, balancers
from netplane.controllers.plan.balancers import Address, Balancers
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Patch, Plan, Write, event

NAME = "load-balancer"
COMPONENT = "netplane-load-balancer"
ASSIGNED, FAILED = "AddressAssigned", "AddressAllocationFailed"
AGAIN_S = 60.0


def plan(world: World, key: str, now: str) -> Plan:
    """Give the Service its addresses, or take them back."""
    service, pool = world.services.get(key), world.balancers
    if service is None or service.metadata.deletion_timestamp:
        return NOTHING
    have = balancers.ingress(service)
    if not balancers.is_ours(service):
        gone = service.spec.type != balancers.LOAD_BALANCER and any(one in pool for one in have)
        return Plan((_status(service, ()),)) if gone else NOTHING
    wanted, problem = _choose(service, pool)
    writes: list[Write] = [] if wanted == have else [_status(service, wanted)]
    if problem:
        writes.append(event(service, FAILED, problem, now=now, by=COMPONENT))
    elif wanted != have:
        text = f"Assigned {', '.join(map(str, wanted))}"
        writes.append(event(service, ASSIGNED, text, now=now, kind="Normal", by=COMPONENT))
    again_s = AGAIN_S if problem else None
    return Plan(tuple(writes), again_s, note=problem, reserve=tuple(map(str, wanted)))


def _choose(service: Service, pool: Balancers) -> tuple[tuple[Address, ...], str]:
    """The addresses that the Service shall have, and what is wrong with that, if anything."""
    families = [one for one in backends.families(service) if one in pool.families()]
    if not families:
        return (), f"the pool has no {' or '.join(backends.families(service))} addresses"
    asked = balancers.parse(service.spec.load_balancer_ip) if service.spec.load_balancer_ip else None
    if service.spec.load_balancer_ip and (asked is None or f"IPv{asked.version}" not in families):
        return (), f"spec.loadBalancerIP {service.spec.load_balancer_ip} is not of a family that Service and pool have"
    found: list[Address] = []
    problems: list[str] = []
    for family in families:
        one, problem = _one(service, pool, family, asked if asked and f"IPv{asked.version}" == family else None)
        found += [one] if one is not None else []
        problems += [problem] if problem else []
    if problems and service.spec.ip_family_policy == "RequireDualStack":
        found = []
    return tuple(found), "; ".join(problems)


def _one(service: Service, pool: Balancers, family: str, asked: Address | None) -> tuple[Address | None, str]:
    key = service.key
    held = next((one for one in pool.held(key) if f"IPv{one.version}" == family), None)
    if asked is not None:
        if asked not in pool:
            return None, f"spec.loadBalancerIP {asked} is not in the pool; ask for another, or widen the pool"
        free = pool.may_keep(key, asked) if asked == held else pool.may_have(key, asked)
        return (asked, "") if free else (None, f"spec.loadBalancerIP {asked} is another Service's")
    if held is not None and pool.may_keep(key, held):
        return held, ""
    found = pool.find(key, family)
    return found, "" if found is not None else f"no {family} address left in the pool; widen --load-balancer-pool"


def _status(service: Service, addresses: tuple[Address, ...]) -> Patch:
    """With the version that was read: a Service that changed its type meanwhile gets none."""
    ingress = [{"ip": str(one), "ipMode": "VIP"} for one in addresses]
    patch = {
        "metadata": {"resourceVersion": service.metadata.resource_version},
        "status": {"loadBalancer": {"ingress": ingress or None}},
    }
    meta = service.metadata
    return Patch(Service, meta.namespace, meta.name, patch, "status", kind="merge")
