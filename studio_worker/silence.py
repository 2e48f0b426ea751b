"""Silences the package's log when it is imported, which is once: whoever enables it afterwards keeps it."""

from loguru import logger as logger

logger.disable("studio_worker")
