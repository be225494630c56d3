"""The public names of `quadsim.theory`; `__init__.py` imports each from the module named here when it is first used."""

from .checking.comparison import VERDICTS as VERDICTS
from .checking.comparison import Check as Check
from .checking.comparison import assert_bound as assert_bound
from .checking.comparison import check as check
from .checking.judge import judge as judge
from .local import LocalSteps as LocalSteps
from .local import local_steps as local_steps
from .statements.proving import Discharge as Discharge
from .statements.proving import Step as Step
from .statements.proving import prove as prove
from .statements.registry import THEOREMS as THEOREMS
from .statements.theorem import Hypothesis as Hypothesis
from .statements.theorem import Theorem as Theorem
from .verifying.guarantees import guarantees as guarantees
