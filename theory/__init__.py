"""Theory: what is claimed, and whether a run bears it out."""

from quadsim.theory.checking import VERDICTS as VERDICTS
from quadsim.theory.checking import Check as Check
from quadsim.theory.checking import assert_bound as assert_bound
from quadsim.theory.checking import check as check
from quadsim.theory.judging import judge as judge
from quadsim.theory.local import LocalSteps as LocalSteps
from quadsim.theory.local import local_steps as local_steps
from quadsim.theory.proving import Discharge as Discharge
from quadsim.theory.proving import Step as Step
from quadsim.theory.proving import prove as prove
from quadsim.theory.registry import THEOREMS as THEOREMS
from quadsim.theory.theorem import Hypothesis as Hypothesis
from quadsim.theory.theorem import Theorem as Theorem
