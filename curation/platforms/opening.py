"""From a target in the ledger to the platform behind it."""

from __future__ import annotations

from curation.errors import PlatformError
from curation.ledger.targets import Target
from curation.platforms.argilla.api import Api as ArgillaApi
from curation.platforms.argilla.dataset import Dataset
from curation.platforms.argilla.mapping import Options as ArgillaOptions
from curation.platforms.contract import Platform
from curation.platforms.label_studio.api import Api
from curation.platforms.label_studio.mapping import Options
from curation.platforms.label_studio.project import Project
from curation.settings import Settings

LABEL_STUDIO = "label-studio"
ARGILLA = "argilla"


def open_platform(target: Target, settings: Settings) -> Platform:
    """The platform of a target, with the token from the settings. Nothing is asked of it yet.

    Raises PlatformError if there is no token, or this version does not know the platform.
    """
    if target.platform == LABEL_STUDIO:
        api = open_label_studio(target.url, settings)
        return Project(api, int(target.project), Options.model_validate(target.options))
    if target.platform == ARGILLA:
        server = open_argilla(target.url, settings)
        return Dataset(server, target.project, ArgillaOptions.model_validate(target.options))
    raise PlatformError(f"{target.platform!r} is no platform that is known here", "Update curation.")


def open_label_studio(url: str, settings: Settings) -> Api:
    """A Label Studio server. Raises PlatformError if no token is set."""
    if settings.label_studio_token is None:
        raise PlatformError(
            "no token for Label Studio is set",
            "Copy one from Account & Settings there into CURATION_LABEL_STUDIO_TOKEN, or into a file named "
            "curation_label_studio_token in the folder that CURATION_SECRETS_DIR names.",
        )
    return Api(url, settings.label_studio_token.get_secret_value())


def open_argilla(url: str, settings: Settings) -> ArgillaApi:
    """An Argilla server. Raises PlatformError if no key is set."""
    if settings.argilla_api_key is None:
        raise PlatformError(
            "no API key for Argilla is set",
            "Copy one from My settings there into CURATION_ARGILLA_API_KEY, or into a file named "
            "curation_argilla_api_key in the folder that CURATION_SECRETS_DIR names.",
        )
    return ArgillaApi(url, settings.argilla_api_key.get_secret_value())
