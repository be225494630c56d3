"""TorchOptimizer: a class of torch.optim's shape, described so that it can be stored by name, version and source."""

import hashlib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from quadsim.simulator.support.checks import check_known

__all__ = ["TorchOptimizer", "check_optimizer", "is_optimizer_class", "is_torch_class"]

_HOW_IT_RUNS = {"foreach", "fused", "maximize", "capturable", "differentiable"}  # not what it computes
_KEYS = ("name", "qualified_name", "package", "version", "source_hash", "hyperparameters")

_GIVEN: dict[tuple[str, str], "TorchOptimizer"] = {}
"""Classes that a user has given in this process, by qualified name and hash of the source."""


def is_optimizer_class(value: Any) -> bool:
    """Whether a value is a class of torch.optim's shape: made from parameters, with `step` and groups of parameters."""
    if not isinstance(value, type):
        return False
    import torch

    return issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer


@dataclass(frozen=True)
class TorchOptimizer:
    """A class of torch.optim's shape.

    Attributes:
        name: of the class, as on the command line.
        qualified_name: as `torch.optim.NAdam`, or `mine.py:MyOptimizer` for a class from a file.
        package: that it comes from; empty for a file.
        version: of the package.
        source_hash: SHA-256 of the source of the class, or of the whole file.
        hyperparameters: name to default, of those that are numbers or truths. A sequence such as `betas` is taken apart
            into beta1, beta2.
        loaded: the class; None where only its record is known.
        file: for a class from a file, what `load_optimizer_file` takes, with an absolute path; it is stored nowhere.
    """

    name: str
    qualified_name: str
    package: str
    version: str
    source_hash: str
    hyperparameters: Mapping[str, float]
    loaded: Any = field(default=None, compare=False, repr=False)
    file: str = field(default="", compare=False, repr=False)

    @classmethod
    def of(cls, optimizer: Any, file: str = "", source: str = "", given: str = "") -> Self:
        """Describe a class.

        Args:
            optimizer: the class.
            file: name of the file that defines it; empty for a class of a package.
            source: of the file.
            given: what `load_optimizer_file` takes to load it again.

        Raises:
            ValueError: not a class of torch.optim's shape.
        """
        if not is_optimizer_class(optimizer):
            raise ValueError(
                f"optimizer must be a name, a Rule or a class derived from torch.optim.Optimizer, got {optimizer!r:.80}; "
                "give one of these."
            )
        package = "" if file else optimizer.__module__.partition(".")[0]
        public = f"torch.optim.{optimizer.__name__}"
        own = public if is_torch_class(optimizer) else f"{optimizer.__module__}.{optimizer.__qualname__}"
        if not source:
            try:
                source = inspect.getsource(optimizer)
            except (OSError, TypeError):  # of a class typed at a prompt: there is no source to hash
                source = optimizer.__qualname__
        name, source_hash = f"{file}:{optimizer.__name__}" if file else own, hashlib.sha256(source.encode()).hexdigest()
        described = cls(
            name=optimizer.__name__,
            qualified_name=name,
            package=package,
            version=_version(package),
            source_hash=source_hash,
            hyperparameters={name: default for name, (default, _) in _arguments(optimizer).items()},
            loaded=optimizer,
            file=given,
        )
        described.remember()
        return described

    def remember(self) -> None:
        """Make the class known in this process, so that `from_document` finds it."""
        _GIVEN[self.qualified_name, self.source_hash] = self

    @property
    def is_known(self) -> bool:
        """Whether the class is known in this process, with this source."""
        return (self.qualified_name, self.source_hash) in _GIVEN

    def to_document(self) -> dict[str, Any]:
        """The record as data that JSON holds, without the class."""
        return {
            key: dict(value) if key == "hyperparameters" else value for key in _KEYS for value in [getattr(self, key)]
        }

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """The record again, with its class where that is known; nothing is imported for the sake of a record.

        A class is known that the installed torch.optim has, or that the user has given in this process, with the same version and
        source.

        Raises:
            ValueError: not a record, in one line.
        """
        texts = [key for key in _KEYS if key != "hyperparameters"]
        known = (
            isinstance(document, dict)
            and set(document) == set(_KEYS)
            and all(isinstance(document[key], str) and document[key].isprintable() for key in texts)
            and all(len(document[key]) <= 500 for key in texts)
            and isinstance(document["hyperparameters"], dict)
            and all(isinstance(value, int | float) for value in document["hyperparameters"].values())
        )
        if not known:
            raise ValueError(
                f"document of a torch class must have the keys {', '.join(_KEYS)}, got {document!r:.80}; "
                "write it with TorchOptimizer.to_document."
            )
        stored = cls(**document)
        installed = _torch_class(stored.qualified_name)
        if installed is not None and (found := cls.of(installed)) == stored:
            return found
        given = _GIVEN.get((stored.qualified_name, stored.source_hash))
        if installed is not None or given is None:
            return stored
        return replace(stored, loaded=given.loaded, file=given.file)

    def check_loaded(self) -> Any:
        """The class, to make optimizers with.

        Raises:
            ValueError: only the record is known; the line says what to give.
        """
        if self.loaded is None:
            what = f"{self.package} {self.version}" if self.package else self.qualified_name
            raise ValueError(
                f"optimizer {self.name} must be loaded to be run, got its record alone ({what}, source "
                f"{self.source_hash[:12]}); give "
                + ("the version that it came from." if self.package else "its file as it was, with --optimizer-file.")
            )
        return self.loaded

    def options(self, values: Mapping[str, float]) -> dict[str, Any]:
        """Arguments of the class for hyperparameters, as `betas=(0.9, 0.99)` for beta1 and beta2.

        Raises:
            ValueError: a hyperparameter that it does not have, or a value that it refuses.
        """
        check_known(f"hyperparameter of {self.name}", values, self.hyperparameters)
        if not values:
            return {}
        loaded = self.check_loaded()
        arguments, defaults = _arguments(loaded), inspect.signature(loaded).parameters
        out: dict[str, Any] = {}
        for name, value in values.items():
            default, (argument, place) = arguments[name]
            if isinstance(default, bool) and value not in (0, 1):
                raise ValueError(f"{name} of {self.name} must be 0 or 1, got {value!r}; give one of these.")
            whole = isinstance(default, int) and float(value).is_integer()  # as a count, which may be no float
            kept: Any = bool(value) if isinstance(default, bool) else int(value) if whole else float(value)
            if place is None:
                out[argument] = kept
            else:
                parts = list(out.get(argument, defaults[argument].default))
                out[argument] = tuple([*parts[:place], kept, *parts[place + 1 :]])
        check_optimizer(loaded, 1.0, out)
        return out

    def has_momentum(self, values: Mapping[str, float]) -> bool:
        """Whether, at these hyperparameters, it moves a parameter at 0 whose gradient is 0 after one that was not.

        Raises:
            ValueError: only the record is known, or hyperparameters that it refuses.
        """
        import torch

        parameter = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimizer = self.check_loaded()([parameter], lr=1e-3, **self.options(values))
        for gradient in (1.0, 0.0):
            parameter.data.zero_()  # where weight decay does nothing
            parameter.grad = torch.full_like(parameter, gradient)
            optimizer.step()
        return bool(parameter.detach().item() != 0.0)


def check_optimizer(
    optimizer: Any, lr: float, options: Mapping[str, Any], dtype: Any = None, device: str = "cpu"
) -> str:
    """Make one optimizer on one parameter before anything is run; the name of its class.

    Raises:
        ValueError: something that makes no optimizer with these options, or one whose step needs a closure.
    """
    import torch

    if not callable(optimizer):
        kind = type(optimizer).__name__
        what = f"the name {optimizer!r}" if isinstance(optimizer, str) else f"an object of the class {kind}"
        fix = "its class, as torch.optim.Adam" if isinstance(optimizer, str | torch.optim.Optimizer) else "a class"
        raise ValueError(f"optimizer must be a class or a callable that makes an optimizer, got {what}; give {fix}.")
    parameter = torch.zeros(1, dtype=dtype, device=device, requires_grad=True)
    try:
        made = optimizer([parameter], lr=lr, **options)
    except Exception as error:  # whatever somebody else's class raises
        raise ValueError(
            f"optimizer must make one from a list of parameters, lr and the given options, got {_one_line(error)}; "
            "look at its arguments."
        ) from error
    name = type(made).__name__
    step = getattr(made, "step", None)
    if not callable(step):
        raise ValueError(
            f"optimizer must make an object with a method step, got a {name}; give a class of torch.optim."
        )
    needed = [
        p.name
        for p in inspect.signature(step).parameters.values()
        if p.default is p.empty and p.kind < p.VAR_POSITIONAL
    ]
    if needed:
        raise ValueError(
            f"optimizer must take steps without a closure, got {name}, whose step needs {needed[0]}; use another."
        )
    parameter.grad = torch.ones_like(parameter)
    try:
        step()
    except RuntimeError as error:  # as of one that wants sparse gradients
        raise ValueError(
            f"optimizer must step on dense gradients, got {name}: {_one_line(error)}; use another."
        ) from error
    except Exception as error:  # whatever somebody else's class raises
        raise ValueError(
            f"optimizer must take a step without an error, got {type(error).__name__} from {name}: {_one_line(error)}; "
            "correct it."
        ) from error
    return name


def _arguments(optimizer: Any) -> dict[str, tuple[Any, tuple[str, int | None]]]:
    """Hyperparameter to its default, and to the argument of the class that holds it, with the place in a sequence."""
    out: dict[str, tuple[Any, tuple[str, int | None]]] = {}
    for name, parameter in list(inspect.signature(optimizer).parameters.items())[1:]:
        default = parameter.default
        if name == "lr" or name in _HOW_IT_RUNS or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if isinstance(default, int | float):
            out[name] = (default, (name, None))
        elif isinstance(default, tuple) and all(isinstance(x, int | float) for x in default):
            for place, one in enumerate(default):
                out[f"{name.removesuffix('s')}{place + 1}"] = (one, (name, place))
    return out


def is_torch_class(optimizer: type[Any]) -> bool:
    """Whether a class is one of torch.optim itself, which any machine with torch has."""
    return _torch_class(f"torch.optim.{optimizer.__name__}") is optimizer


def _torch_class(qualified_name: str) -> Any:
    """The class of torch.optim of this name; None for any other name, which is not looked up."""
    module, _, name = qualified_name.rpartition(".")
    if module != "torch.optim":
        return None
    found = vars(importlib.import_module("torch.optim")).get(name)
    return found if is_optimizer_class(found) else None


def _version(package: str) -> str:
    if not package:
        return ""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
