"""The papers on which theorems rest, as BibTeX."""

import re
from dataclasses import dataclass

from quadsim.theory.statements.theorem import Theorem

__all__ = ["SOFTWARE", "Paper", "bibtex", "papers_of"]


@dataclass(frozen=True)
class Paper:
    """A source.

    Attributes:
        key: its key in BibTeX.
        found: the words by which the source of a theorem names it.
        kind: the entry type in BibTeX.
        fields: the other fields, name to text.
    """

    key: str
    found: str
    kind: str
    fields: tuple[tuple[str, str], ...]

    @property
    def bibtex(self) -> str:
        """The entry of the source."""
        return "\n".join([f"@{self.kind}{{{self.key},", *(f"  {k} = {{{v}}}," for k, v in self.fields), "}"])


def _arxiv(key: str, number: str, year: int, authors: str, title: str) -> Paper:
    fields = (("author", authors), ("title", title), ("year", str(year)), ("eprint", number))
    return Paper(key, f"arXiv {number}", "misc", (*fields, ("archiveprefix", "arXiv")))


_PAPERS = (
    _arxiv(
        "zhang2024why", "2402.16788", 2024,
        "Zhang, Yushun and Chen, Congliang and Ding, Tian and Li, Ziniu and Sun, Ruoyu and Luo, Zhi-Quan",
        "Why Transformers Need {Adam}: A {Hessian} Perspective",
    ),
    _arxiv(
        "tomihari2025understanding", "2502.00213", 2025, "Tomihari, Akiyoshi and Sato, Issei",
        "Understanding Transformer Optimization via Gradient Heterogeneity",
    ),
    _arxiv(
        "bernstein2018signsgd", "1802.04434", 2018,
        "Bernstein, Jeremy and Wang, Yu-Xiang and Azizzadenesheli, Kamyar and Anandkumar, Anima",
        "{signSGD}: Compressed Optimisation for Non-Convex Problems",
    ),
    _arxiv(
        "ba2016layer", "1607.06450", 2016, "Ba, Jimmy Lei and Kiros, Jamie Ryan and Hinton, Geoffrey E.",
        "Layer Normalization",
    ),
    _arxiv(
        "dong2025towards", "2505.02809", 2025, "Dong, Zhaorui and Zhang, Yushun and Yao, Jianfeng and Sun, Ruoyu",
        "Towards Quantifying the {Hessian} Structure of Neural Networks",
    ),
    _arxiv(
        "orvieto2025search", "2505.21829", 2025, "Orvieto, Antonio and Gower, Robert M.",
        "In Search of {Adam}'s Secret Sauce",
    ),
    _arxiv(
        "cohen2022adaptive", "2207.14484", 2022, "Cohen, Jeremy M. and others",
        "Adaptive Gradient Methods at the Edge of Stability",
    ),
    _arxiv(
        "xiao2024exact", "2411.12135", 2024,
        "Xiao, Ke Liang and Marshall, Noah and Agarwala, Atish and Paquette, Elliot",
        "Exact Risk Curves of {signSGD} in High-Dimensions: Quantifying Preconditioning and Noise-Compression Effects",
    ),
    Paper(
        "nesterov2018lectures", "Nesterov", "book",
        (
            ("author", "Nesterov, Yurii"), ("title", "Lectures on Convex Optimization"), ("year", "2018"),
            ("publisher", "Springer"),
        ),
    ),
    Paper(
        "polyak1964some", "Polyak (1964)", "article",
        (
            ("author", "Polyak, Boris T."), ("year", "1964"),
            ("title", "Some methods of speeding up the convergence of iteration methods"),
            ("journal", "USSR Computational Mathematics and Mathematical Physics"), ("volume", "4"), ("number", "5"),
            ("pages", "1--17"),
        ),
    ),
    Paper(
        "isserlis1918formula", "Isserlis (1918)", "article",
        (
            ("author", "Isserlis, Leon"), ("year", "1918"), ("journal", "Biometrika"), ("volume", "12"),
            ("pages", "134--139"),
            (
                "title",
                "On a formula for the product-moment coefficient of any order of a normal frequency distribution in any "
                "number of variables",
            ),
        ),
    ),
)  # fmt: skip

SOFTWARE = Paper(
    "quadsim",
    "",
    "software",
    (
        ("author", "{The quadsim developers}"),
        ("title", "quadsim: a laboratory for when and why sign-based and adaptive optimizers beat gradient descent"),
        ("year", "2026"),
        ("license", "Apache-2.0"),
    ),
)
"""This package, as CITATION.cff names it."""


def papers_of(theorem: Theorem) -> tuple[Paper, ...]:
    """Return the papers that the source of a theorem names.

    Raises:
        ValueError: an arXiv number that is not in the table.
    """
    named = set(re.findall(r"arXiv \d{4}\.\d{5}", theorem.source))
    if unknown := sorted(named - {paper.found for paper in _PAPERS}):
        raise ValueError(
            f"the source of {theorem.name} must be in the table of papers, got {unknown[0]}; add it there."
        )
    return tuple(paper for paper in _PAPERS if paper.found in theorem.source)


def bibtex(*theorems: Theorem) -> str:
    """Return the papers of theorems, each once, and this software, as BibTeX."""
    papers = dict.fromkeys(paper for theorem in theorems for paper in papers_of(theorem))
    return "\n\n".join(paper.bibtex for paper in (*papers, SOFTWARE)) + "\n"
