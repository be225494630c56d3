"""Toy models as stacks of instances, their tasks and dials."""

from quadsim.simulator.models.base import DataShape as DataShape
from quadsim.simulator.models.base import Model as Model
from quadsim.simulator.models.base import Parameter as Parameter
from quadsim.simulator.models.conv import Conv as Conv
from quadsim.simulator.models.conv import ResNet as ResNet
from quadsim.simulator.models.mixer import Mixer as Mixer
from quadsim.simulator.models.mlp import MLP as MLP
from quadsim.simulator.models.partitions import PARTITIONS as PARTITIONS
from quadsim.simulator.models.partitions import Partition as Partition
from quadsim.simulator.models.problem import DIALS_OF_MODELS as DIALS_OF_MODELS
from quadsim.simulator.models.problem import MODELS as MODELS
from quadsim.simulator.models.problem import ToyProblem as ToyProblem
from quadsim.simulator.models.stack import Stack as Stack
from quadsim.simulator.models.tasks.catalogue import TASKS as TASKS
from quadsim.simulator.models.tasks.datasets import Digits as Digits
from quadsim.simulator.models.tasks.datasets import Table as Table
from quadsim.simulator.models.tasks.gaussians import Gaussians as Gaussians
from quadsim.simulator.models.tasks.sequences import Induction as Induction
from quadsim.simulator.models.tasks.sequences import ModularAddition as ModularAddition
from quadsim.simulator.models.tasks.sequences import TokenMap as TokenMap
from quadsim.simulator.models.tasks.task import Task as Task
from quadsim.simulator.models.tasks.text import Text as Text
from quadsim.simulator.models.transformer import Transformer as Transformer
