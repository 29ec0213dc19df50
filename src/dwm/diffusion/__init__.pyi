from .ddpm import Ddim as Ddim
from .flow import FlowMatchEuler as FlowMatchEuler
from .multistep import Multistep as Multistep
from .solver import Solver as Solver
