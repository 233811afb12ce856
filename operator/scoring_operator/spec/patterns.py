"""What names, hosts, paths and addresses of a spec look like; each matches the whole of a text."""

import re

DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
HOST = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
PATH = re.compile(r"/|(/(?![.][.]?(/|$))[A-Za-z0-9._~-]+)+/?")
SHA256 = re.compile(r"[A-Fa-f0-9]{64}")
ENTRY_SCRIPT = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*[.]py")
ISSUER = re.compile(r"https://[^/@?# ,]+[^@?# ,]*")
JWKS_URI = re.compile(r"https://[^/@?# ,]+(/[^@# ,]*)?")
AUDIENCE = re.compile(r"[^\s,]+", re.ASCII)
SUBJECT = re.compile(r"[^\s,*]+", re.ASCII)
HEADER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?")
RESERVED_LABEL = re.compile(r"scoring[.]dev/.*|app[.]kubernetes[.]io/(managed-by|name|instance)")
