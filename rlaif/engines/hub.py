"""The Hub, as a place to push to. The one module that uploads anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rlaif.records.errors import InputError, RunHalted


class Hub:
    """A Hub at an endpoint, used with a token.

    Args:
        endpoint: its URL; None for the Hub itself.
    """

    def __init__(self, token: str, endpoint: str | None = None) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi(endpoint=endpoint, token=token, library_name="rlaif")

    def push(
        self, name: str, kind: Literal["model", "dataset"], files: Mapping[str, Path], *, public: bool, message: str
    ) -> str:
        """One commit of all files, by their paths in the repository; made private where there is none. Its URL.

        Raises:
            InputError: it cannot be reached, or refuses.
            RunHalted: it exists, is public, and `public` is not asked for.
        """
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            self._api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
            if not public and not self._api.repo_info(name, repo_type=kind).private:
                raise RunHalted(f"{name} exists and is public: nothing was sent. Add --public if that is meant")
            adds = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=file) for path, file in files.items()]
            done = self._api.create_commit(name, adds, commit_message=message, repo_type=kind)
        except HfHubHTTPError as error:
            code = error.response.status_code if error.response is not None else "no answer"
            fix = "check the name and that HF_TOKEN may write there" if code in (401, 403, 404) else "try again later"
            raise InputError(f"the Hub refused {name} ({code})", fix=fix) from None
        except Exception as error:
            # Of whichever HTTP client the library uses: its errors have one base.
            if not isinstance(error, (HfHubHTTPError.__bases__[0], OfflineModeIsEnabled)):
                raise
            raise InputError(f"the Hub cannot be reached: {type(error).__name__}", fix="check the network") from None
        return str(done.commit_url)
