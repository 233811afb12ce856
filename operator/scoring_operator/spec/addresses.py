"""The forms of addresses: of models, one for each scheme, and of the folders for data, as the CRD's rules have them.

What an address holds is read by the runtime (docs/model-sources.md); here only mistakes are told from addresses.
"""

import re
from dataclasses import dataclass

ADDRESS = re.compile(
    r"s3://[^/\s]+(/\S*)?|https?://[^/\s]+/\S*|pvc://[a-z0-9][-.a-z0-9]*(/\S*)?|file:///\S+|(gs|az|abfss?|hf)://\S*"
    r"|(models|oci):\S*",
    re.ASCII,
)
"""Any of them; the schemes that are not spelled out here have a form below."""

FOLDER = re.compile(r"[a-z][a-z0-9+.-]*://[^@?#\s]*[^/@?#\s][^@?#\s]*", re.ASCII)
"""Where collected data goes."""


@dataclass(frozen=True)
class Form:
    """What the addresses of some schemes look like, and what to say of others."""

    schemes: tuple[str, ...]
    pattern: re.Pattern[str]
    sentence: str

    def fits(self, uri: str) -> bool:
        """Whether `uri` is of another scheme, or as it must be."""
        return uri.partition(":")[0] not in self.schemes or self.pattern.fullmatch(uri) is not None


FORMS = (
    Form(
        ("gs",),
        re.compile(r"gs://[^/\s]+/\S+", re.ASCII),
        "a uri with gs:// names a bucket and what is in it: write gs://BUCKET/FOLDER/",
    ),
    Form(
        ("az", "abfs", "abfss"),
        re.compile(r"(az|abfss?)://[a-z0-9$][a-z0-9-]*(@[a-z0-9]+[.](dfs|blob)[.][a-z0-9.-]+)?/\S+", re.ASCII),
        "a uri with az:// or abfs:// names a container and what is in it: write az://CONTAINER/FOLDER/ or "
        "abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER/",
    ),
    Form(
        ("hf",),
        re.compile(r"hf://[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(@[^/\s]+)?(/\S*)?", re.ASCII),
        "a uri with hf:// names a repository: write hf://OWNER/REPOSITORY, or "
        "hf://OWNER/REPOSITORY@REVISION/FOLDER with %2F for a slash in the revision",
    ),
    Form(
        ("models",),
        re.compile(r"models:/[^/@\s]+(/[0-9]+|@[^/@\s]+)", re.ASCII),
        "a uri with models: names a model of an MLflow registry: write models:/NAME/VERSION with a number, or "
        "models:/NAME@ALIAS",
    ),
    Form(
        ("oci",),
        re.compile(
            r"oci://[^/@\s]+/[a-z0-9]+([._/-]+[a-z0-9]+)*(:\w[\w.-]{0,127}(@sha256:[a-f0-9]{64})?|@sha256:[a-f0-9]{64})",
            re.ASCII,
        ),
        "a uri with oci:// names an artifact or image in a registry: write oci://REGISTRY/REPOSITORY:TAG or "
        "oci://REGISTRY/REPOSITORY@sha256:DIGEST",
    ),
)


def climbs(uri: str) -> bool:
    """Whether a path in a volume or image leads up."""
    return uri.startswith(("pvc:", "file:")) and ".." in uri.split("/")


def names_user(uri: str) -> bool:
    """Whether a user, and perhaps a password, stands before the host."""
    return re.match(r"https?://[^/]*@", uri) is not None
