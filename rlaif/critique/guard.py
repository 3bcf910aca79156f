"""What the rules of a guard say of its audits so far. Nothing here looks ahead, and a missing audit is never a pass: it
neither breaks a row of breaches nor adds to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlaif.records.agreement import Interval
from rlaif.records.guard import Audit, Meters, Rule

FACTOR = 2.0  # of `degenerate`, where a rule names none
SLACK = 2.0  # words: a short repeat, such as a name, is no sign of anything
Z = 1.959964
EVEN = 0.5  # the win rate of the policy that training started from: it is the reference itself


def fired(rules: Sequence[Rule], audits: Sequence[Audit]) -> list[Rule]:
    """The rules that fire at the last audit."""
    if not audits or audits[-1].missing is not None:
        return []
    known = [audit for audit in audits if audit.missing is None]
    return [rule for rule in rules if _row(rule, known) >= rule.patience]


def missing(audits: Sequence[Audit]) -> int:
    """How many audits are missing since the last one that was held."""
    count = 0
    for audit in reversed(audits):
        if audit.missing is None:
            break
        count += 1
    return count


def best(rules: Sequence[Rule], audits: Sequence[Audit]) -> Audit | None:
    """The audit whose policy is to be kept; None where none was held.

    Of those that were within the bounds of all rules (of all where none was), the ones whose win rate is not below the
    highest beyond its interval, and of these the one with the highest proxy reward. The critic cannot tell them apart,
    a few dozen prompts being few; among what it finds equally good, the reward decides, the later of equals.
    """
    held = [audit for audit in audits if audit.missing is None]
    known = [(audit, held[: place + 1]) for place, audit in enumerate(held) if value(audit) is not None]
    sound = [audit for audit, so_far in known if not any(doubted(rule, so_far) for rule in rules)]
    chosen = sound or [audit for audit, _ in known]
    top = max((value(audit) or 0.0 for audit in chosen), default=0.0)
    equal = [audit for audit in chosen if audit.win_rate is not None and (audit.win_rate.high or 0.0) >= top]
    return max(equal, key=lambda audit: (-math.inf if audit.proxy is None else audit.proxy, audit.update), default=None)


def value(audit: Audit, principle: str | None = None) -> float | None:
    """The audit's win rate, over all or under one principle, where it has one."""
    found = interval(audit, principle)
    return None if found is None else found.value


def interval(audit: Audit, principle: str | None) -> Interval | None:
    """The same with its bounds."""
    return audit.win_rate if principle is None else audit.principles.get(principle)


def breached(rule: Rule, audits: Sequence[Audit]) -> bool:
    """Whether the last of these audits, all of them held, is out of the rule's bounds."""
    last = audits[-1]
    if rule.watch == "kl":
        assert rule.limit is not None
        return last.kl > rule.limit
    if rule.watch == "cost":
        assert rule.limit is not None
        return last.cost is not None and last.cost - Z * (last.cost_error or 0.0) > rule.limit
    if rule.watch == "degenerate":
        return bool(degenerate(last.policy, last.reference, rule.limit or FACTOR))
    return _fallen(rule, audits, 2) if rule.limit is None else _under(rule, last)


def doubted(rule: Rule, audits: Sequence[Audit]) -> bool:
    """Whether the last of these audits is nothing to go back to: out of the rule's bounds, or, where it has no limit,
    its win rate's whole interval lies under the very highest before it, which may have been luck and is therefore no
    breach by itself."""
    relative = rule.watch == "win_rate" and rule.limit is None
    return _fallen(rule, audits, 1) if relative else breached(rule, audits)


def _under(rule: Rule, audit: Audit) -> bool:
    """Whether the whole interval of the win rate lies under the rule's limit."""
    now = interval(audit, rule.principle)
    return now is not None and now.high is not None and rule.limit is not None and now.high < rule.limit


def _fallen(rule: Rule, audits: Sequence[Audit], times: int) -> bool:
    """Whether the whole interval of the last win rate lies under the highest that was reached so many times before; the
    start, whose one half is certain, counts as often as it takes."""
    now = interval(audits[-1], rule.principle)
    rates = (value(audit, rule.principle) for audit in audits[:-1])
    before = sorted([EVEN] * times + [rate for rate in rates if rate is not None], reverse=True)
    return now is not None and now.high is not None and now.high < before[times - 1]


def degenerate(policy: Meters, reference: Meters, factor: float) -> list[str]:
    """The meters of the policy's replies that are `factor` times worse than those of the reference's."""
    worse = {
        "distinct": policy.distinct * factor < reference.distinct,
        "distinct_2": policy.distinct_2 * factor < reference.distinct_2,
        "longest_repeat": policy.longest_repeat > factor * reference.longest_repeat + SLACK,
        "compression": policy.compression > factor * reference.compression,
    }
    return [name for name, bad in worse.items() if bad]


def _row(rule: Rule, audits: Sequence[Audit]) -> int:
    """How many of the last audits, one after the other, are out of bounds."""
    count = 0
    while count < len(audits) and breached(rule, audits[: len(audits) - count]):
        count += 1
    return count
