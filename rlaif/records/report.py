"""What a run came to: the numbers that the report shows, each with what it was computed from.

No times and no paths: the same seed on the same machine gives the same file.
"""

from __future__ import annotations

from pydantic import Field

from rlaif.records.agreement import Difference, Interval
from rlaif.records.base import Record
from rlaif.records.label import Label
from rlaif.records.prompt import Message
from rlaif.records.trained import Calibration


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


class Curve(Record):
    """One training quantity over updates."""

    name: str
    unit: str
    steps: list[int]
    values: list[float]


class Report(Record):
    """Everything that the page shows."""

    name: str
    seed: int
    constitution: str
    summary: str
    principles: dict[str, str] = Field(default_factory=dict)  # id -> what the critic reads; none where people judged
    critic: str
    rollout_engine: str
    simulation: bool  # a tinyworld run: says so on top
    evaluation: Evaluation
    labels: LabelSummary
    reward: RewardSummary
    sft_curves: list[Curve]
    policy_curves: list[Curve]
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
