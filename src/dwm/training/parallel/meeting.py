"""How the processes of a run find one another, from the variables that a launcher sets; what is wrong with them is one line.

PyTorch's own account of a missing variable, a busy port or an absent peer is a trace, and its patience half an hour.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from dwm.errors import DwmError
from dwm.progress import note

PATIENCE = 60.0
"""Seconds in which all processes must be there; DWM_PEERS_WAIT sets another number."""
BUSY = (errno.EADDRINUSE,)
ALONE = "to train with one process: unset RANK WORLD_SIZE"


@dataclass(frozen=True)
class Meeting:
    """Who meets where. `hosted`: a launcher (torchrun) holds the meeting place itself."""

    rank: int
    ranks: int
    address: str
    port: int
    patience: float = PATIENCE
    hosted: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Meeting:
        """From RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Raises DwmError for what is missing or no number."""
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
        if missing:
            raise DwmError(
                f"RANK and WORLD_SIZE are set here, {' and '.join(missing)} not: set what is missing to the first "
                f"process's address and a free port, or start with torchrun; {ALONE}"
            )
        rank, ranks, port = (_number(environment, name) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
        if rank >= ranks:
            raise DwmError(f"RANK={rank}, but WORLD_SIZE={ranks}: ranks count from 0 to {ranks - 1}; {ALONE}")
        if not 0 < port < 2**16:
            raise DwmError(f"MASTER_PORT={port}: expected a port from 1 to 65535")
        patience = float(_number(environment, "DWM_PEERS_WAIT")) if "DWM_PEERS_WAIT" in environment else PATIENCE
        hosted = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return cls(rank, ranks, environment["MASTER_ADDR"], port, patience, hosted)

    @property
    def where(self) -> str:
        return f"{self.address}:{self.port}"

    def meet(self) -> Any:
        """The store that all share, once all are there. Raises DwmError for a busy port, or where the others do not come."""
        if not self.hosted and self.rank == 0:
            check_port(self.port)
        elif not self.hosted:
            self._first_comes()
        if self.ranks > 1 and not self.hosted:
            note(f"waiting at {self.where} for {self.ranks} processes, {self.patience:g} s at most")
        try:
            return next(dist.rendezvous("env://", timeout=timedelta(seconds=self.patience)))[0]
        except (RuntimeError, ValueError, OSError) as error:
            raise DwmError(self._absent(str(error).splitlines()[0].rstrip("."))) from None

    def _first_comes(self) -> None:
        """Asks for the first process's port until it answers: PyTorch's client fills the screen while it waits."""
        until, why = time.monotonic() + self.patience, "no answer"
        while time.monotonic() < until:
            try:
                socket.create_connection((self.address, self.port), 2).close()
                return
            except OSError as error:
                why = error.strerror or str(error)
                time.sleep(0.2)
        raise DwmError(self._absent(f"no process with RANK=0 answers there ({why.lower()})"))

    def _absent(self, why: str) -> str:
        return (
            f"{self.ranks} processes were to meet at {self.where}, and did not within {self.patience:g} s ({why}): start "
            f"the others too, or give them longer (DWM_PEERS_WAIT=600); {ALONE}"
        )


def check_port(port: int) -> None:
    """Raises DwmError where another program listens at this port of this machine."""
    for family in (socket.AF_INET6, socket.AF_INET):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("", port))
        except PermissionError:
            raise DwmError(f"MASTER_PORT={port}: this port is for the system; choose one above 1023") from None
        except OSError as error:
            if error.errno in BUSY:
                raise DwmError(
                    f"MASTER_PORT={port}: is in use on this machine, by another run or program; choose another, "
                    f"such as MASTER_PORT={free_port()}"
                ) from None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not text.strip().isdecimal():
        raise DwmError(f"{name}={text}: expected a whole number; {ALONE}")
    return int(text)
