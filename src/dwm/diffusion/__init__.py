"""Diffusion: rectified flow and DDPM, each with what training draws, adds and asks for, and the solvers that go back."""

from dwm.diffusion.ddpm import Ddim
from dwm.diffusion.flow import FlowMatchEuler
from dwm.diffusion.multistep import Multistep
from dwm.diffusion.process import Ddpm, Flow, NoiseProcess, SolverKind, process_of
from dwm.diffusion.solver import Solver

__all__ = ["Ddim", "Ddpm", "Flow", "FlowMatchEuler", "Multistep", "NoiseProcess", "Solver", "SolverKind", "process_of"]
