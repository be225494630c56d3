"""Advice: an answer with its certainty and what it rests on, or a plain sentence that says why there is none."""

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Advice"]


@dataclass(frozen=True)
class Advice:
    """What is recommended at one point.

    Attributes:
        at: the point, in words.
        optimizer: the recommended optimizer with its hyperparameters; empty where there is no answer.
        lr: its learning rate; None where there is none.
        answer: the recommendation in a sentence, or why there is none.
        certainty: how sure it is, in a sentence.
        guarantee: what a theorem says of it, in a sentence; that none does is said, too.
        rests_on: the experiments and the theorems that it rests on, by name.
    """

    at: str
    answer: str
    optimizer: str = ""
    lr: float | None = None
    certainty: str = ""
    guarantee: str = ""
    rests_on: tuple[str, ...] = field(default=())

    @property
    def is_answer(self) -> bool:
        """Whether something is recommended."""
        return bool(self.optimizer)

    @property
    def text(self) -> str:
        """All sentences, a line each."""
        rests = f"It rests on {'; '.join(self.rests_on)}." if self.rests_on else ""
        lines = (self.answer, self.certainty, self.guarantee, rests)
        return "\n  ".join([f"{self.at}:" if self.at else "Answer:", *filter(None, lines)])

    def to_json(self) -> dict[str, Any]:
        """Return the same as plain data."""
        return asdict(self) | {"rests_on": list(self.rests_on), "is_answer": self.is_answer}
