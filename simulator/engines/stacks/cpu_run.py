"""Run the fused CPU kernel of stacks: gradients and losses of all instances of a `Stack` in one call.

`cpu_blocks` has the kernel, which runs a list of blocks; here the list is written for a model (`_Chunk`), in the order of
`order.py`. The step by the rule is that of the engine `stack` (`update_source.FusedUpdate`), so whatever `train` can do, it can
do with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.engines.kernels.cache import say_if_new
from quadsim.simulator.engines.kernels.machine import CompiledModule, jit_is_off, made_with, native_lanes
from quadsim.simulator.engines.stacks.cpu_blocks.kernel import BLOCKS, NUMBERS, blocks_source
from quadsim.simulator.engines.stacks.order import Order
from quadsim.simulator.models.base import DataShape, Model
from quadsim.simulator.models.mlp import MLP
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.models.transformer import Transformer

__all__ = ["FusedGradient", "why_not"]

Tensor = torch.Tensor

_CHUNK_BYTES = 1 << 18  # of the activations of a chunk, half of a usual second cache; one vector of sequences at least


def why_not(problem: ToyProblem) -> str | None:
    """Return the reason why this engine cannot compute the gradients of a problem, as a clause; None if it can."""
    model, shape = problem.model, problem.task.shape
    if jit_is_off():
        return "Numba's compiler is off (NUMBA_DISABLE_JIT)"
    if not isinstance(model, Transformer | MLP):
        return f"it has no kernel for the model {model.name}"
    if isinstance(model, MLP) and not model.embedded and problem.data.inputs.dtype.kind != "f":
        return "it has no kernel for an MLP that reads tokens without an embedding"
    widths = {parameter.shape[-1] for parameter in model.parameters(shape)}
    odd = [width for width in sorted(widths) if width % 4]
    if odd:
        return f"it takes matrices with a multiple of 4 columns, not {odd[0]}"
    return None


@dataclass(frozen=True)
class _Rows:
    """An array of a chunk: where it begins, number of rows, numbers from one row to the next, and number of columns."""

    at: int
    rows: int
    pitch: int
    columns: int


_Back = Callable[[_Rows], _Rows]


class _Chunk(Order[_Rows]):
    """Writes the list of blocks for a chunk of data.

    Attributes:
        lines: the blocks, each its name and numbers.
        forward: how many of them give the losses; the others are the backward pass.
        size: numbers that the arrays take.
        answers: where the weights of the answers are.
    """

    def __init__(self, model: Model, shape: DataShape, sequences: int, *, features: bool, loss: str) -> None:
        self._model, self._shape, self._sequences, self._features = model, shape, sequences, features
        self.columns = shape.tokens * sequences
        self.lines: list[tuple[Any, ...]] = []
        self.size = 0
        self._begin: dict[str, int] = {}
        self._rows_of: dict[str, tuple[int, int]] = {}
        at = 0
        for p in model.parameters(shape):
            self._begin[p.name] = at
            self._rows_of[p.name] = (p.shape[0], p.shape[-1])
            at += p.size
        self.dimension = at
        answers = sequences * (shape.tokens if shape.readout == "every" else 1)
        self.answers = self._array(2, answers).at
        x, back = self._stack()
        read = x
        if x.columns != answers:  # the readout `last`: the columns of the last position
            read = _Rows(x.at + x.columns - answers, x.rows, x.pitch, answers)
        logits = self._product("head", read)
        if loss == "mse":
            self._write("square_error", logits.at, 0, shape.classes, answers)
        else:
            self._write("cross_entropy", logits.at, self._array(2, answers).at, shape.classes, answers)
        self.forward = len(self.lines)
        d = self._array(x.rows, x.columns)
        if read is not x:
            self._write("clear", d.at, d.rows * d.pitch)
        inner = _Rows(d.at + d.columns - answers, d.rows, d.pitch, answers)
        self._product_back("head", logits, read, inner)
        back(d)
        self.numbers = np.zeros(len(self.lines) * NUMBERS, dtype=np.int64)
        for at, (name, *numbers) in enumerate(self.lines):
            self.numbers[at * NUMBERS : at * NUMBERS + len(numbers) + 1] = [BLOCKS.index(name), *numbers]

    def _write(self, name: str, *numbers: int) -> None:
        self.lines.append((name, *numbers))

    def _array(self, rows: int, columns: int) -> _Rows:
        at, self.size = self.size, self.size + rows * columns
        return _Rows(at, rows, columns, columns)

    def _like(self, x: _Rows) -> _Rows:
        return self._array(x.rows, x.columns)

    def _product(self, name: str, x: _Rows) -> _Rows:
        outs, ins = self._rows_of[name]
        y = self._array(outs, x.columns)
        self._write("product", self._begin[name], ins, 1, outs, ins, x.at, x.pitch, y.at, y.pitch, x.columns)
        return y

    def _product_back(self, name: str, d: _Rows, x: _Rows, back: _Rows | None = None) -> _Rows:
        """Write the gradients of a product, in its matrix and in x."""
        outs, ins = self._rows_of[name]
        back = back or self._like(x)
        self._write("matrix_gradient", self._begin[name], outs, ins, d.at, d.pitch, x.at, x.pitch, x.columns)
        self._write("product", self._begin[name], 1, ins, ins, outs, d.at, d.pitch, back.at, back.pitch, x.columns)
        return back

    # Blocks.

    def _add(self, x: _Rows, y: _Rows) -> None:
        self._write("add", x.at, y.at, x.rows * x.pitch)

    def _activated(self, h: _Rows) -> _Rows:
        """Write an activation; h then holds its derivative."""
        y = self._like(h)
        self._write(getattr(self._model, "activation", "gelu"), h.at, y.at, h.rows * h.pitch)
        return y

    def _layer(self, x: _Rows, name: str) -> tuple[_Rows, _Back]:
        h = self._product(name, x)
        y = self._activated(h)

        def back(d: _Rows) -> _Rows:
            self._write("multiply", d.at, h.at, d.rows * d.pitch)
            return self._product_back(name, d, x)

        return y, back

    def _norm(self, x: _Rows, name: str) -> tuple[_Rows, _Back]:
        normed, factor, y = self._like(x), self._array(1, x.columns), self._like(x)
        gain = self._begin[name]
        self._write("norm", gain, x.at, normed.at, factor.at, y.at, x.rows, x.columns)

        def back(d: _Rows) -> _Rows:
            out = self._like(x)
            self._write("norm_back", gain, d.at, normed.at, factor.at, out.at, x.rows, x.columns)
            return out

        return y, back

    def _network(self, x: _Rows, layer: str) -> tuple[_Rows, _Back]:
        h = self._product(f"{layer}.w1", x)
        inner = self._activated(h)
        y = self._product(f"{layer}.w2", inner)

        def back(d: _Rows) -> _Rows:
            through = self._product_back(f"{layer}.w2", d, inner)
            self._write("multiply", through.at, h.at, h.rows * h.pitch)
            return self._product_back(f"{layer}.w1", through, x)

        return y, back

    def _attention(self, x: _Rows, layer: str) -> tuple[_Rows, _Back]:
        heads, tokens, causal = self._model.heads, self._shape.tokens, int(self._shape.causal)  # type: ignore[attr-defined]
        each = x.rows // heads
        qkv = self._product(f"{layer}.qkv", x)
        shares, mixed = self._array(heads * tokens, x.columns), self._like(x)
        self._write("attention", qkv.at, shares.at, mixed.at, heads, each, causal)
        y = self._product(f"{layer}.o", mixed)

        def back(d: _Rows) -> _Rows:
            d_mixed = self._product_back(f"{layer}.o", d, mixed)
            slopes, d_qkv = self._like(shares), self._like(qkv)
            self._write("attention_back", qkv.at, shares.at, slopes.at, d_mixed.at, d_qkv.at, heads, each, causal)
            return self._product_back(f"{layer}.qkv", d_qkv, x)

        return y, back

    def _mean(self, x: _Rows) -> tuple[_Rows, _Back]:
        y = self._array(x.rows, self._sequences)
        self._write("mean", x.at, y.at, x.rows)

        def back(d: _Rows) -> _Rows:
            out = self._like(x)
            self._write("mean_back", d.at, out.at, x.rows)
            return out

        return y, back

    def _embed(self) -> tuple[_Rows, _Back]:
        sequences, model = self._sequences, self._model
        joined = isinstance(model, MLP) and self._shape.readout != "every"
        if isinstance(model, MLP) and not model.embedded:
            return self._given(joined=joined)
        width = self._rows_of["embed"][1]
        # An MLP that answers once a sequence reads the embeddings of its tokens one below the other.
        x = self._array(width * self._shape.tokens, sequences) if joined else self._array(width, self.columns)
        apart = width * sequences if joined else sequences
        laid = x.pitch, apart, width
        table, places = self._begin["embed"], self._begin["pos"]
        if not self._features:
            self._write("embed", table, x.at, *laid)
        given = self._given(joined=False)[0] if self._features else None
        # The columns of the features and of x that go together: all at once, unless x has the positions below each other.
        parts = (
            [(p * sequences, p * apart, sequences) for p in range(self._shape.tokens)]
            if joined
            else [(0, 0, x.columns)]
        )
        if given is not None:
            for there, here, columns in parts:
                into = given.at + there, given.pitch, x.at + here, x.pitch, columns
                self._write("product", table, 1, width, width, given.rows, *into)
        self._write("positions", places, x.at, *laid)

        def back(d: _Rows) -> _Rows:
            self._write("positions_back", places, d.at, *laid)
            if given is None:
                self._write("embed_back", table, d.at, *laid)
                return d
            for there, here, columns in parts:
                self._write(
                    "matrix_gradient",
                    table,
                    given.rows,
                    width,
                    given.at + there,
                    given.pitch,
                    d.at + here,
                    d.pitch,
                    columns,
                )
            return d

        return x, back

    def _given(self, *, joined: bool) -> tuple[_Rows, _Back]:
        """The features of the tokens, below each other where they are joined."""
        number, sequences = self._shape.inputs, self._sequences
        x = self._array(number * self._shape.tokens, sequences) if joined else self._array(number, self.columns)
        self._write("features", x.at, x.pitch, number * sequences if joined else sequences, number)
        return x, lambda d: d


@lru_cache(maxsize=256)
def _chunk(model: Model, shape: DataShape, length: int, loss: str, *, features: bool, dtype: str) -> tuple[int, _Chunk]:
    """Return the number of sequences of a chunk, and its list of blocks: chunks are equally long, and fit in a cache."""
    lanes = _lanes(dtype)
    bytes_of_lanes = _Chunk(model, shape, lanes, features=features, loss=loss).size * np.dtype(dtype).itemsize
    most = max(1, _CHUNK_BYTES // bytes_of_lanes) * lanes
    chunks = -(-length // most)
    sequences = -(-length // (chunks * lanes)) * lanes
    return sequences, _Chunk(model, shape, sequences, features=features, loss=loss)


def _lanes(dtype: str) -> int:
    return max(4, native_lanes(dtype))


_LOADING = Lock()  # threads that train different chunks ask for the kernel at the same time; it is compiled once


def _kernel(dtype: str) -> CompiledModule:
    with _LOADING:
        return _load(dtype)


@lru_cache(maxsize=4)
def _load(dtype: str) -> CompiledModule:
    folder = Path(__file__).parent
    files = (folder / "cpu_functions.py", folder.parent / "kernels" / "cpu_vectors.py")  # they import Numba
    made = " ".join([made_with(), *(sha256(file.read_bytes()).hexdigest() for file in files)])
    module = CompiledModule(f"{blocks_source(dtype, _lanes(dtype))}\n# Made with {made}\n", "stack", ("gradient_",))
    say_if_new(module.__file__, f"gradients of models in {dtype}")
    return module


class FusedGradient:
    """Gradients and losses of stacks of one problem.

    Args:
        problem: a problem for which `why_not` is None.
        dtype: number type of the parameters.
        kernel: the kernel to call; None compiles it.
    """

    def __init__(self, problem: ToyProblem, dtype: torch.dtype, kernel: Any = None) -> None:
        self._problem, self._dtype = problem, str(dtype).removeprefix("torch.")
        self._kernel = kernel or _kernel(self._dtype)
        self._features = problem.data.inputs.dtype.kind == "f"
        self._room = np.empty(0)

    def gradient(self, stack: Stack, theta: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `Stack.gradient` returns: the gradient, (E, P), with the optimised and the unweighted loss, (E,) each.

        Args:
            stack: instances of the problem.
            theta: parameters, (E, P).
            rows: the sequences of a mini-batch, (E, b); None: all.
        """
        out = torch.empty_like(theta)
        losses = self._call(stack, self._scaled(stack, theta), out, rows)
        if stack.scale is not None:
            out *= stack.scale if self._problem.mode == "parameter" else stack.scale**2
        return out, *losses

    def losses(self, stack: Stack, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the optimised and the unweighted loss of every instance, (E,) each."""
        return self._call(stack, self._scaled(stack, theta), None, None)

    def _scaled(self, stack: Stack, theta: Tensor) -> Tensor:
        """Return the weights of the model."""
        return theta if stack.scale is None or self._problem.mode != "parameter" else theta * stack.scale

    def _call(self, stack: Stack, theta: Tensor, gradient: Tensor | None, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        problem, dtype = self._problem, np.dtype(self._dtype)
        instances, stored = stack.targets.shape[:2]
        length = stored if rows is None else rows.shape[1]
        shape, copies = problem.task.shape, problem.copies
        sequences, chunk = _chunk(
            problem.model, shape, length, problem.loss, features=self._features, dtype=self._dtype
        )
        answers = stack.targets.shape[2]
        sizes = (shape.tokens, sequences, answers, stored, length, chunk.dimension, copies, chunk.answers)
        if self._room.size < chunk.size:
            self._room = _aligned(chunk.size, dtype)
        factors = np.ones((instances * copies, 2))
        factors[:, 0] = (stack.copy_weights.numpy() / copies).reshape(-1)
        if rows is not None:
            factors *= np.repeat(stack.sequences.numpy() / length, copies)[:, None]
        sharpness = np.full(instances, (problem.model.width // getattr(problem.model, "heads", 1)) ** -0.5)  # type: ignore[attr-defined]
        if stack.temperature is not None:
            sharpness = sharpness / stack.temperature.numpy()
        no_reals, no_tokens = np.empty(0, dtype=dtype), np.empty(0, dtype=np.int64)
        given = stack.inputs.numpy().reshape(-1)
        losses = np.empty((instances * copies, 2))
        self._kernel.gradient_(
            chunk.numbers, chunk.forward if gradient is None else len(chunk.lines), int(gradient is not None),
            np.array(sizes), 0, instances * copies, theta.detach().numpy().reshape(-1),
            no_reals if gradient is None else gradient.numpy().reshape(-1),
            no_tokens if self._features else given, given if self._features else no_reals,
            stack.targets.numpy().reshape(-1), stack.weights.numpy().reshape(-1), stack.share.numpy().reshape(-1),
            no_tokens if rows is None else rows.numpy().reshape(-1), factors.astype(dtype), sharpness.astype(dtype),
            self._room, np.empty(chunk.columns, dtype=np.int64), np.empty(chunk.columns, dtype=np.int64), losses,
        )  # fmt: skip
        each = torch.from_numpy(losses).to(theta.dtype).view(instances, copies, 2)
        return each[:, :, 1].sum(dim=1), each[:, :, 0].amax(dim=1)


def _aligned(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an uninitialised array that begins at a cache line."""
    raw = np.empty(count + 64 // dtype.itemsize, dtype=dtype)
    begin = -raw.ctypes.data % 64 // dtype.itemsize
    return raw[begin : begin + count]
