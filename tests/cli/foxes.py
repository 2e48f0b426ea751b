"""One small engine's source text, as a package that tests of plugins install."""

FOX = """
from studio_worker import Engine, EngineCapabilities, TaskKind, hookimpl

class Fox(Engine):
    name = "fox"
    sources = ("fox-source",)
    def capabilities(self):
        return EngineCapabilities({TaskKind.IMAGE: ["fox:*"]})
    def run(self, job):
        raise NotImplementedError

@hookimpl
def studio_worker_engines(config):
    return [Fox()]
"""

AWAY = FOX.replace("TaskKind, hookimpl", "TaskKind, Unavailable, hookimpl").replace(
    "    def run(",
    '    def availability(self):\n        return Unavailable("no fox here", "buy one")\n    def run(',
)
"""The same where something is missing."""

POINT = "[studio_worker]\nfox = studio_worker_fox\n"
