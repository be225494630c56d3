"""The public names of `quadsim.theory`; `__init__.py` imports each from the module named here when it is first used."""

from .checking import VERDICTS as VERDICTS
from .checking import Check as Check
from .checking import assert_bound as assert_bound
from .checking import check as check
from .judging import judge as judge
from .local import LocalSteps as LocalSteps
from .local import local_steps as local_steps
from .proving import Discharge as Discharge
from .proving import Step as Step
from .proving import prove as prove
from .registry import THEOREMS as THEOREMS
from .theorem import Hypothesis as Hypothesis
from .theorem import Theorem as Theorem
