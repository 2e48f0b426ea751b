"""Whether processes that tests started run still."""

import psutil


def is_running(pid: int) -> bool:
    """Whether it runs; a zombie does not, nor does one that goes while it is looked at."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
