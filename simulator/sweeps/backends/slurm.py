"""Job arrays on a SLURM cluster, through submitit."""

import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quadsim.simulator.support.checks import check_choice
from quadsim.simulator.sweeps.backends import Backend, Function, Lost, usual_workers

__all__ = ["Slurm"]

_ARRAY = 1000
"""Jobs in one array: SLURM's own limit, as it is usually set."""

_WORKERS = 100


class Slurm(Backend):
    """An array of jobs after the other, one chunk a job. The nodes must see the folder of the sweep under the same path.

    With `cluster=local` the jobs are processes on this machine, with `cluster=debug` they run in this process.
    """

    name = "slurm"

    def __init__(self, workers: int | None = None, parameters: Mapping[str, Any] | None = None) -> None:
        given = dict(parameters or {})
        self._cluster = check_choice("slurm cluster", given.get("cluster", "slurm"), ("slurm", "local", "debug"))
        self._workers = workers or (_WORKERS if self._cluster == "slurm" else usual_workers())
        self._parameters = {f"slurm_{key}": value for key, value in given.items() if key != "cluster"}
        if self._cluster == "slurm" and shutil.which("sbatch") is None:
            raise ValueError(
                "backend slurm must find sbatch, got a machine without it; run it on a login node, or use another backend."
            )
        self._executor = self._new(Path(tempfile.gettempdir()))

    def _new(self, folder: Path) -> Any:
        """An executor.

        Raises:
            ValueError: a parameter submitit does not know.
        """
        import submitit

        executor = submitit.AutoExecutor(folder=folder, cluster=self._cluster)
        if self._cluster == "slurm":
            executor.update_parameters(slurm_array_parallelism=self._workers)
        try:
            executor.update_parameters(**self._parameters)
        except (NameError, ValueError, TypeError) as error:
            raise ValueError(
                f"slurm must hold parameters that submitit knows, got {self._parameters} ({str(error).splitlines()[0]}); give "
                "others."
            ) from error
        return executor

    @contextmanager
    def started(self, folder: Path) -> Iterator[None]:
        """See `Backend.started`."""
        self._executor = self._new(folder)
        yield

    def run(
        self, function: Function, chunks: Iterable[Any], *, alone: bool = False
    ) -> Iterator[tuple[Any, Any | Lost]]:
        """See `Backend.run`."""
        from submitit.helpers import as_completed

        source = iter(chunks)
        size = 1 if alone else _ARRAY if self._cluster == "slurm" else self._workers
        while array := list(itertools.islice(source, size)):
            jobs = self._executor.map_array(function, array, [None] * len(array))
            chunk_of = {job.job_id: chunk for job, chunk in zip(jobs, array, strict=True)}
            for job in as_completed(jobs, poll_frequency=10.0 if self._cluster == "slurm" else 0.1):
                yield chunk_of[job.job_id], _result(job)


def _result(job: Any) -> Any | Lost:
    """What a job returned; one that ended without a result is lost."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        return job.result()
    except (FailedJobError, UncompletedJobError) as error:
        return Lost(f"{type(error).__name__}: {' '.join(str(error).split())[:2000]}")
