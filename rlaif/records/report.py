"""What a run came to: the numbers that the report shows, each with what it was computed from.

No times and no paths: the same seed on the same machine gives the same file.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlaif.records.agreement import Difference, Interval
from rlaif.records.audit import Audit as LabelAudit
from rlaif.records.audit import Finding, Together
from rlaif.records.base import Record
from rlaif.records.guard import Audit, Exploit
from rlaif.records.label import Label
from rlaif.records.prompt import Message
from rlaif.records.trained import Calibration, CostSummary


class Mean(Record):
    """A mean over the rows where the quantity applies."""

    value: float
    n: int = Field(ge=1)


class Similarity(Record):
    """Mean METEOR of pairs of replies, 0 to 1."""

    value: float
    pairs: int = Field(ge=1)
    stages: list[str]  # how words were matched: exact, stem, and synonym where WordNet's data is installed


class ModelEvaluation(Record):
    """One model's samples on the held-out prompts."""

    name: str  # start, sft, policy, and best-of-N where it was asked for
    samples: int
    words: float  # mean words a reply
    finished: float  # share that ended by itself
    distinct: float  # share of different replies
    distinct_2: float  # different word pairs over all word pairs
    longest_repeat: float  # mean length, in words, of the longest word sequence that a reply repeats
    meteor: Similarity | None = None  # between replies to different prompts; None of a single reply
    oracle: dict[str, Mean]  # what the user's scorer says, if one is configured


class BestOf(Record):
    """Of n samples of the SFT policy a prompt, the one that the run's reward model scores best."""

    name: str  # of its row among the models
    n: int = Field(ge=2)
    kl_bound: float  # nats a reply: log n - (n - 1) / n, which its KL from the SFT policy does not exceed


class Comparison(Record):
    """The critic's verdict on one model's samples against another's, both orders, the whole constitution."""

    model: str
    against: str
    win_rate: Interval  # ties count one half
    axes: dict[str, Interval]
    failed: int


class Evaluation(Record):
    """The evaluation stage's one artifact."""

    models: list[ModelEvaluation]
    comparisons: list[Comparison]
    kl: float | None  # nats a reply, policy against SFT, on the policy's own held-out samples; None if greedy
    best_of: BestOf | None = None
    oracle_direction: dict[str, int]  # 1: higher is better, -1: lower is; what the scorer does not say is absent
    labels_oracle: Interval | None  # labels agreeing with the oracle where it prefers one side
    samples: list[BeforeAfter]


class BeforeAfter(Record):
    """One held-out prompt and every model's reply to it."""

    prompt_id: str
    messages: list[Message]
    replies: dict[str, str]  # model name -> reply
    oracle: dict[str, dict[str, float]]  # model name -> what the scorer says of the reply


class LabelSummary(Record):
    """Label quality, counted over pairs."""

    count: int
    labelled: int  # with a probability
    abstained: int  # of these, unsure within the band of the abstaining
    failed_judgements: int
    failures: dict[str, int]  # reason -> judgements
    judgements: int
    ties: int  # |p - 0.5| < 0.05
    order_inconsistent: int
    position_bias: float | None  # mean P(option A) - 0.5
    flagged: int
    mean_confidence: float | None  # mean max(p, 1-p)
    skipped_identical: int  # sampled pairs that were the same text twice
    escalated: int  # labels that a stronger critic decided
    sources: dict[str, int] = Field(default_factory=dict)  # of labels, where not all are a critic's
    canaries: dict[str, tuple[int, int]]  # kind -> (lost as they must, judged)


class RewardSummary(Record):
    """The reward model on held-out labels."""

    train_pairs: int
    heldout_pairs: int
    truncated: int
    loss: float  # soft Bradley-Terry cross-entropy, held out
    floor: float  # entropy of the soft labels: the loss cannot go below it
    axis: str | None  # of the labels; None: the overall ones
    accuracy: Interval  # on labels that are no tie
    baselines: dict[str, Interval]  # accuracy of rules that learn nothing, on the same pairs
    against_baseline: Difference  # the model minus the best of them, pair by pair
    calibration: Calibration
    spread: float  # of scores before they were scaled: that times a difference of saved scores is the fitted log-odds
    members: list[Interval]  # accuracy of each model of an ensemble, one where there is only one
    disagreement: float | None  # mean standard deviation between the members' scores of a held-out reply
    exploits: Interval | None = None  # of held-out prompts: the reference's reply has the higher score
    against_previous: Difference | None = None  # minus the last round's model, on labels held out from both


class Curve(Record):
    """One training quantity over updates."""

    name: str
    unit: str
    steps: list[int]
    values: list[float]


class StageState(Record):
    """How far a stage came. `note` says what there is of one that did not finish."""

    name: str
    state: Literal["finished", "unfinished", "missing"]
    note: str | None = None
    version: str | None = None  # of the rlaif that ran it, where it says so


class Problem(Record):
    """A record that could not be read, or only in part. `file` is relative to the run folder."""

    file: str
    what: str


class PrincipleText(Record):
    """A principle as the critic reads it, and what it speaks for."""

    id: str
    axis: str
    weight: float
    text: str


class Influence(Record):
    """What principles do to each other, from stored votes; what each does alone stands in the audit."""

    together: list[Together]
    findings: list[Finding]


class Point(Record):
    """One audit in the curve of over-optimisation: its distance sqrt(KL), and the score less that of the start."""

    update: int
    d: float
    score: float


class OverOptimisation(Record):
    """R(d) = d (alpha - beta ln d), fitted to the audits of one run (arXiv 2210.10760).

    `peak` is d*, where the fit bends down; None, with the `reason`, where these audits do not say where that is.
    `peaks` are the lowest and the highest d* among the fits that leave one audit out. `line` is the fitted curve.
    """

    of: Literal["critic", "proxy"]
    points: list[Point]
    alpha: float | None = None
    beta: float | None = None
    r_squared: float | None = None
    line: list[tuple[float, float]] = Field(default_factory=list)
    peak: float | None = None
    peaks: tuple[float, float] | None = None
    reason: str | None = None


class GuardReport(Record):
    """What the audits of a policy in training found.

    `best` is the update of the best audit, `kept` that of the policy that training ended with (None where it has not
    ended). `actions` is what follows each rule. `exploits` are the first of `exploit_count`.
    """

    audits: list[Audit]
    critic: str | None  # SPEC of a critic of its own, where it has one
    actions: dict[str, str]
    best: int | None
    kept: int | None
    rolled_back: bool
    fits: list[OverOptimisation]
    exploits: list[Exploit]
    exploit_count: int


class RoundReport(Record):
    """What a later round of the loop came to; the first one's stands in the report itself."""

    number: int = Field(ge=2)
    labels: LabelSummary | None
    reward: RewardSummary | None
    cost: CostSummary | None
    guard: GuardReport | None
    policy_curves: list[Curve]


class Credit(Record):
    """A reply's score as `base`, the value of the prompt, and what each of its tokens adds; the last one is its end."""

    prompt_id: str
    messages: list[Message]
    model: str  # whose reply
    score: float
    base: float
    tokens: list[str]
    credits: list[float]


class Report(Record):
    """Everything that the page shows, but for the pairs that one can browse. What a run has not come to is None."""

    name: str
    seed: int | None
    constitution: str | None
    summary: str
    principles: list[PrincipleText]  # none where people judged
    critic: str | None
    rollout_engine: str | None
    simulation: bool  # a tinyworld run: says so on top
    stages: list[StageState]
    problems: list[Problem]
    evaluation: Evaluation | None
    labels: LabelSummary | None
    audit: LabelAudit | None
    influence: Influence | None
    reward: RewardSummary | None
    cost: CostSummary | None
    sft_curves: list[Curve]
    policy_curves: list[Curve]
    guard: GuardReport | None
    rounds: list[RoundReport]  # the later ones
    credits: list[Credit]
    pairs: list[Label]  # example pairs with every vote
    revisions: list[RevisionExample]
    warnings: list[str]


class RevisionExample(Record):
    """A reply before and after critique and revision."""

    messages: list[Message]
    initial: str
    rounds: list[dict[str, str]]  # principle, critique, response


Evaluation.model_rebuild()
Report.model_rebuild()
