"""What there is of each limit of a gate: slots in use, what is left of rates and budgets, what rests for a while."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from dagnats.core.entities import Demand
from dagnats.core.model import SHARED_BUDGETS

Meter = tuple[str, str, str]  # kind, path, the value found there


def meter_of(demand: Demand) -> Meter:
    """What a demand draws on."""
    return demand.kind, demand.path, demand.key


def cost_of(demands: tuple[Demand, ...], meter: Meter) -> int:
    """How much of a meter a ticket takes."""
    return next(demand.cost for demand in demands if meter_of(demand) == meter)


def sound(demand: Demand) -> bool:
    """Whether a demand can be counted with."""
    if demand.kind == "slots":
        return demand.limit >= 0 and demand.cost >= 0
    if demand.is_budget:
        return demand.limit > 0 and demand.period_ms >= 0 and demand.mode != "replace"
    return demand.kind == "rate" and min(demand.limit, demand.period_ms) > 0 and demand.cost >= 0


class Rule(Struct):
    """A limit as it was last told: what runs that ask now say of it counts for everybody."""

    limit: int
    period_ms: int = 0
    burst: int = 0

    @property
    def most(self) -> int:
        """What one ticket can cost at the most; 0 for anything."""
        return self.burst if self.period_ms else self.limit


class Bucket(Struct):
    """What is left of a rate (a token bucket): ``level`` in period-ths of one, so that whole numbers do."""

    level: int
    at_ms: int


class Account(Struct):
    """Of a shared budget: what was spent in the period that began at ``since_ms``, and what was added to it.

    ``over``: more was spent than there is, and those who spend have been told.
    """

    since_ms: int
    spent: int = 0
    more: int = 0
    over: bool = False


def since_of(period_ms: int, at_ms: int) -> int:
    """When the period began that a moment is in: they are counted from 1970 on, so days begin at midnight, UTC."""
    return at_ms - at_ms % period_ms if period_ms else 0


class Meters:
    """The limits of one gate, for each key."""

    def __init__(self) -> None:
        self.rules: dict[tuple[str, str], Rule] = {}
        self.used: dict[Meter, int] = {}
        self.buckets: dict[Meter, Bucket] = {}
        self.accounts: dict[Meter, Account] = {}
        self.paused: dict[Meter, int] = {}

    def learn(self, demands: tuple[Demand, ...], now: int) -> Iterator[tuple[str, str]]:
        """What the newest ask says of a limit is the limit; the limits that have changed."""
        for demand in demands:
            name = demand.kind, demand.path
            rate = demand.kind == "rate"
            told = Rule(
                demand.limit,
                0 if demand.kind == "slots" else demand.period_ms,
                (demand.burst or demand.limit) if rate else 0,
            )
            known = self.rules.get(name)
            if known == told:
                continue
            if known is not None and rate:
                for meter in [meter for meter in self.buckets if meter[:2] == name]:
                    bucket = self._refilled(meter, now)
                    bucket.level = bucket.level * told.period_ms // known.period_ms
            self.rules[name] = told
            if known is not None:
                yield name

    def short(self, meter: Meter, cost: int, now: int) -> bool:
        """Whether there is too little of something."""
        if self.paused.get(meter, 0) > now:
            return True
        if meter[0] == "rate":
            return self.wait_ms(meter, cost, now) > 0
        if meter[0] in SHARED_BUDGETS:
            return self.left(meter, now) <= 0
        limit = self.rules[meter[:2]].limit
        # A limit that has shrunk below a ticket's cost lets that one through alone.
        return limit > 0 and self.used.get(meter, 0) + cost > max(limit, cost)

    def wait_ms(self, meter: Meter, cost: int, now: int) -> int:
        """For how long there is too little of a rate; 0 when there is enough."""
        bucket, rule = self._refilled(meter, now), self.rules[meter[:2]]
        missing = min(cost, rule.burst) * rule.period_ms - bucket.level
        return -(-missing // rule.limit) if missing > 0 else 0

    def due_ms(self, meter: Meter, cost: int, now: int) -> int:
        """When there will be enough, if that comes with time alone; else 0."""
        until = self.paused.get(meter, 0)
        if until > now:
            return until
        if meter[0] == "rate":
            return now + self.wait_ms(meter, cost, now)
        period_ms = self.rules[meter[:2]].period_ms
        return since_of(period_ms, now) + period_ms if period_ms else 0

    def take(self, demands: tuple[Demand, ...]) -> None:
        """A ticket is let through."""
        for demand in demands:
            meter = meter_of(demand)
            if demand.kind == "slots":
                self.used[meter] = self.used.get(meter, 0) + demand.cost
            elif demand.kind == "rate":
                self.buckets[meter].level -= demand.cost * self.rules[meter[:2]].period_ms

    def give_back(self, demands: tuple[Demand, ...]) -> list[Meter]:
        """It is over: of what there is more now. What was taken of a rate stays taken."""
        freed = [meter_of(demand) for demand in demands if demand.kind == "slots"]
        for meter in freed:
            left = self.used[meter] - cost_of(demands, meter)
            if left:
                self.used[meter] = left
            else:
                del self.used[meter]
        return freed

    def account(self, meter: Meter, now: int) -> Account:
        """What was used of a shared budget in this period."""
        since_ms = since_of(self.rules[meter[:2]].period_ms, now)
        account = self.accounts.get(meter)
        if account is None or account.since_ms != since_ms:
            account = self.accounts[meter] = Account(since_ms)
        return account

    def left(self, meter: Meter, now: int) -> int:
        """What is left of a shared budget; less than nothing when it is exceeded."""
        account = self.accounts.get(meter)
        rule = self.rules[meter[:2]]
        if account is None or account.since_ms != since_of(rule.period_ms, now):
            return rule.limit
        return rule.limit + account.more - account.spent

    def pause(self, demands: tuple[Demand, ...], until_ms: int) -> None:
        """Everybody with the same keys waits; where there are none, everybody."""
        meters = [meter_of(demand) for demand in demands]
        for meter in [meter for meter in meters if meter[1]] or meters[:1]:
            self.paused[meter] = max(until_ms, self.paused.get(meter, 0))

    def tidy(self, now: int) -> None:
        """Forget rates that have refilled, and pauses that are over: they are as if they had never been."""
        for meter in list(self.buckets):
            rule = self.rules[meter[:2]]
            if self._refilled(meter, now).level >= rule.burst * rule.period_ms:
                del self.buckets[meter]
        for meter in [meter for meter, until in self.paused.items() if until <= now]:
            del self.paused[meter]
        for meter, account in list(self.accounts.items()):
            if account.since_ms != since_of(self.rules[meter[:2]].period_ms, now):
                del self.accounts[meter]

    def _refilled(self, meter: Meter, now: int) -> Bucket:
        rule = self.rules[meter[:2]]
        full = rule.burst * rule.period_ms
        bucket = self.buckets.get(meter)
        if bucket is None:
            bucket = self.buckets[meter] = Bucket(full, now)
        elif now > bucket.at_ms:
            bucket.level = min(full, bucket.level + (now - bucket.at_ms) * rule.limit)
            bucket.at_ms = now
        return bucket
