"""The order of the blocks of a model, forward and backward, for every generator of fused steps of stacks.

It is that of `models/transformer.py` and `models/mlp.py`. The writer of each block returns its result and the writer of its
backward pass, so that the order of the backward pass follows from that of the forward pass.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from quadsim.simulator.models.base import DataShape, Model
from quadsim.simulator.models.mlp import MLP
from quadsim.simulator.models.transformer import Transformer

__all__ = ["Order"]

ArrayT = TypeVar("ArrayT")
"""What stands for an array with numbers for every token."""


class Order(ABC, Generic[ArrayT]):
    """Writes the blocks of a model between the data and the head.

    A backward pass is a function of the gradient of the result of a block, which returns that of its argument.
    """

    _model: Model
    _shape: DataShape

    def _stack(self) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        """Write everything before the head; the last backward pass ends at the data."""
        return self._transformer() if isinstance(self._model, Transformer) else self._mlp()

    def _transformer(self) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        model = self._model
        assert isinstance(model, Transformer)
        x, back = self._embed()
        backs = [back]
        for i in range(model.layers):
            for branch, norm in ((self._attention, f"layer{i}.norm1"), (self._network, f"layer{i}.norm2")):
                x, back = self._residual(x, branch, f"layer{i}", norm if model.norm == "pre" else "")
                backs.append(back)
                if model.norm == "post":
                    x, back = self._norm(x, norm)
                    backs.append(back)
        if model.norm == "pre":
            x, back = self._norm(x, "norm")
            backs.append(back)
        if self._shape.readout == "mean":
            x, back = self._mean(x)
            backs.append(back)
        return x, _composed(backs)

    def _mlp(self) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        model = self._model
        assert isinstance(model, MLP)
        x, back = self._embed()
        backs = [back]
        for i in range(model.layers):
            for here, block, name in (
                (model.norm == "pre", self._norm, f"layer{i}.norm"),
                (True, self._layer, f"layer{i}.w"),
                (model.norm == "post", self._norm, f"layer{i}.norm"),
            ):
                if here:
                    x, back = block(x, name)
                    backs.append(back)
        return x, _composed(backs)

    def _residual(
        self,
        x: ArrayT,
        branch: Callable[[ArrayT, str], tuple[ArrayT, Callable[[ArrayT], ArrayT]]],
        layer: str,
        norm: str,
    ) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        """A residual sum of x and a branch of it, with a norm before the branch if it has a name."""
        inner, backs = x, []
        if norm:
            inner, back = self._norm(x, norm)
            backs.append(back)
        y, back = branch(inner, layer)
        backs.append(back)
        self._add(y, x)

        def whole(d: ArrayT) -> ArrayT:
            through = _composed(backs)(d)
            self._add(through, d)
            return through

        return y, whole

    @abstractmethod
    def _add(self, x: ArrayT, y: ArrayT) -> None:
        """Write x += y."""

    @abstractmethod
    def _embed(self) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        """The embedding of tokens or features plus that of positions; its backward pass ends at the data."""

    @abstractmethod
    def _norm(self, x: ArrayT, name: str) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        """A layer norm with a gain."""

    @abstractmethod
    def _attention(self, x: ArrayT, layer: str) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        """The attention of a layer, from its argument to the product with the matrix o."""

    @abstractmethod
    def _network(self, x: ArrayT, layer: str) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        """The GELU network of a layer of a Transformer."""

    @abstractmethod
    def _layer(self, x: ArrayT, name: str) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        """A layer of an MLP: a matrix and an activation."""

    @abstractmethod
    def _mean(self, x: ArrayT) -> tuple[ArrayT, Callable[[ArrayT], ArrayT]]:
        """The mean over the tokens of a sequence."""


def _composed(backs: list[Callable[[ArrayT], ArrayT]]) -> Callable[[ArrayT], ArrayT]:
    def back(d: ArrayT) -> ArrayT:
        for each in reversed(backs):
            d = each(d)
        return d

    return back
