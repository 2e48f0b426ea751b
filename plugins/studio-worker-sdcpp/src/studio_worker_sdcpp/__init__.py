"""stable-diffusion.cpp for studio-worker: pictures and films, source id `sd-cpp`."""

from studio_worker_sdcpp.engine import SdCppEngine, studio_worker_engines

__all__ = ["SdCppEngine", "studio_worker_engines"]
