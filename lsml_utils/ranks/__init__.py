"""One program, many ranks: simulated here, with messages counted and a clock, or real processes of torch.distributed.

def program(comm):
    ...                                  # comm.rank, comm.size, comm.send(to, array), comm.recv(source)

simulate(program, 4, latency=1e-5, bandwidth=1e9)        launch(program, 4)
"""

from lsml_utils.ranks.comm import Comm, RankError
from lsml_utils.ranks.launching import Launched, launch
from lsml_utils.ranks.simulating import Message, Simulated, interleave, simulate

__all__ = ["Comm", "Launched", "Message", "RankError", "Simulated", "interleave", "launch", "simulate"]
