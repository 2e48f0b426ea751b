"""The operator's settings as one frozen, strictly typed model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from studio_worker.config.fields import (
    Environments,
    Flag,
    Folder,
    Gigabytes,
    Mirrors,
    Names,
    OptionalFolder,
    OptionalGigabytes,
    OptionalPort,
    OptionalSecret,
    OptionalText,
    PluginTables,
    Port,
    Preferences,
    Secs,
    Slots,
    StudioAddress,
    Tries,
    bad_setting,
)
from studio_worker.config.loading import Loaded, gather
from studio_worker.config.secrecy import plugin_secrets
from studio_worker.errors import ConfigError
from studio_worker.places import Places
from studio_worker.wire.urls import StudioUrls

DEFAULT_STUDIO = "https://studio.minis.gg/"


class Config(BaseModel):
    """What an operator may set. ``Config(...)`` reads nothing; `Config.load` reads the file and the environment.

    Numbers and booleans are strict (``true`` is no 1, ``"30"`` is no 30) and finite.

    Raises:
        BadSetting: (a `ConfigError`) a value is not allowed; it names the setting and what is allowed.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    api_base_url: StudioAddress = Field(DEFAULT_STUDIO, description="The studio's address; none: local jobs only.")
    vram_threshold_gb: Gigabytes = Field(12.0, description="The most video memory, in GB, that a job may ask for.")
    models_root: Folder = Field(Path("~/models"), description="The folder of the model files.")
    ws_reconnect_attempts: Tries = Field(0, description="Failed connections in a row before giving up; 0: never.")
    auto_start: Flag = Field(False, description="Start with the machine, once the service is installed.")
    auto_update_enabled: Flag = Field(True, description="Look for new releases.")
    auto_update_interval_secs: Secs = Field(1_800.0, description="Seconds between two looks for a new release.")
    auto_update_feed: OptionalText = Field(None, description="The older worker's release feed; ignored.")
    auto_update_prerelease: Flag = Field(False, description="Take pre-releases too.")
    local_api_port: Port = Field(4_787, description="Loopback port of the local API; 0: any free one.")
    stream_port: OptionalPort = Field(None, description="Loopback port of the live transcription listener.")
    state_dir: OptionalFolder = Field(None, description="The folder of lock, credentials, journal and spool.")
    machine_name: OptionalText = Field(None, description="The name that the studio shows; none: the machine's own.")
    share_identity: Flag = Field(True, description="Tell the studio the machine's and the user's name.")
    register_poll_secs: Secs = Field(30.0, description="Seconds between two questions whether we are approved.")
    reconnect_base_secs: Secs = Field(1.0, description="The first pause before connecting again; it doubles.")
    max_concurrent_jobs: Slots = Field(1, description="Jobs at once.")
    drain_timeout_secs: Secs = Field(30.0, description="Seconds that running jobs may take to finish at a stop.")
    engine_idle_secs: Secs = Field(300.0, description="Seconds without a job after which a model is unloaded.")
    disabled_engines: Names = Field((), description="Engines that are not used.")
    engine_preferences: Preferences = Field(
        default_factory=dict, description="Which engine serves a source id that two engines claim."
    )
    engine_environments: Environments = Field(
        default_factory=dict, description="Environments of their own that engines run from, by a name of yours."
    )
    require_certified_engines: Flag = Field(
        False, description="Use only engines of packages that have a valid certificate of conformance."
    )
    device: OptionalText = Field(
        None,
        description="Where models run: cpu, cuda:0 …, cuda for any GPU; none: the engine decides. "
        "One in a plugin's table is for its engines.",
    )
    allow_private_urls: Flag = Field(False, description="Let a studio name addresses of the private network.")
    models_quota_gb: OptionalGigabytes = Field(
        None, description="The most that downloaded model files may take, in GB."
    )
    pinned_models: Names = Field(
        (),
        description="Models, by id, that make room for no other: neither their files on disk, nor what is loaded.",
    )
    models_offline: Flag = Field(False, description="Download no model files: use those that are here.")
    model_mirrors: Mirrors = Field(
        default_factory=dict, description="Hosts of model files, each with what is asked in its place, in this order."
    )
    hf_token: OptionalSecret = Field(
        None, description="The Hugging Face token, sent to Hugging Face's hosts alone; HF_TOKEN serves too."
    )
    plugins: PluginTables = Field(default_factory=dict, description="A table for each plugin.")

    config_path: Path | None = Field(None, exclude=True, description="The file that this was read from.")
    certificates_dir: Path | None = Field(
        None, exclude=True, description="The folder of certificates; none: the one in the state folder."
    )
    environments_dir: Path | None = Field(
        None, exclude=True, description="The folder of environments made here; none: the one in the state folder."
    )
    _places: Places | None = PrivateAttr(None)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ModelWrapValidatorHandler[Config]) -> Config:
        try:
            return handler(data)
        except ValidationError as error:
            raise bad_setting(error, cls.model_fields) from None

    @classmethod
    def load(cls, path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
        """The settings in force: the defaults, the file over them, the environment over both.

        Args:
            path: the config file; else ``STUDIO_WORKER_CONFIG`` names it, else it is the user's own. One that does
                not exist is not made: the defaults hold.
            environ: the environment, the process's own by default.

        Raises:
            ConfigError: file or environment cannot be used; the sentence says where, what, and what is allowed.
        """
        loaded = gather(setting_fields(), path, environ)
        for notice in loaded.notices:
            notice.log()
        return cls.from_loaded(loaded)

    @classmethod
    def from_loaded(cls, loaded: Loaded) -> Config:
        """The settings out of what file and environment hold; raises as `load` does."""
        with loaded.blaming():
            config = cls(**loaded.values, config_path=loaded.path)
        config._places = loaded.places
        return config

    @property
    def places(self) -> Places:
        """The files and folders of the user whose settings these are."""
        return self._places or Places.of()

    @property
    def urls(self) -> StudioUrls:
        """The studio's routes.

        Raises:
            ConfigError: there is no studio in these settings.
        """
        if self.api_base_url is None:
            raise ConfigError("api_base_url is not set: without a studio this worker runs local jobs only")
        return StudioUrls.parse(self.api_base_url)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log line may show: the hub's token, and what plugins' tables hold under keys that say so."""
        hub_token = () if self.hf_token is None else (self.hf_token.get_secret_value(),)
        return (*hub_token, *plugin_secrets(self.plugins))

    @property
    def devices(self) -> dict[str, str]:
        """The devices that are set, by the setting that names each: ``device``, ``plugins.<name>.device``."""
        found = {} if self.device is None else {"device": self.device}
        for plugin in self.plugins:
            if (device := self._own_device(plugin)) is not None:
                found[f"plugins.{plugin}.device"] = device
        return found

    def device_of(self, plugin: str) -> str | None:
        """Where the models of a plugin's engines run: its own table says, else `device`; None: the engine decides."""
        own = self._own_device(plugin)
        return self.device if own is None else own

    def _own_device(self, plugin: str) -> str | None:
        device = self.plugins.get(plugin, {}).get("device")
        return device if isinstance(device, str) and device else None

    @property
    def models_path(self) -> Path:
        """`models_root` with ``~`` expanded, absolute: what is remembered of its files goes by their paths."""
        return self.places.expand(self.models_root).absolute()

    @property
    def models_quota_bytes(self) -> int | None:
        """`models_quota_gb` in bytes; None: no limit."""
        return None if self.models_quota_gb is None else int(self.models_quota_gb * 1e9)

    @property
    def state_path(self) -> Path:
        """`state_dir` with ``~`` expanded, else the user's own state folder."""
        return self.places.state_dir if self.state_dir is None else self.places.expand(self.state_dir)

    def beside(self, state_dir: Path, **changes: Any) -> Config:
        """These settings for a short-lived worker with a state of its own.

        Certificates, and environments made here, stay those of this one. Nothing is read or checked.

        Args:
            state_dir: its state folder.
            changes: settings of its own.
        """
        kept = {"certificates_dir": self.certificates_path, "environments_dir": self.environments_path}
        return self.model_copy(update={"state_dir": state_dir, "config_path": None} | kept | changes)

    @property
    def certificates_path(self) -> Path:
        """The folder in which certificates of conformance are looked for."""
        return self.state_path / "certificates" if self.certificates_dir is None else self.certificates_dir

    @property
    def environments_path(self) -> Path:
        """The folder in which environments that ``plugins install --own-environment`` has made are looked for."""
        return self.state_path / "environments" if self.environments_dir is None else self.environments_dir


def setting_fields() -> dict[str, Any]:
    """The settings by key: what a file or the environment may hold."""
    return {key: field for key, field in Config.model_fields.items() if not field.exclude}
