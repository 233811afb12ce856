"""What the way in has to keep: where the service is published, and who may call."""

from scoring_operator.spec import patterns, wire
from scoring_operator.spec.rules.rule import Rule, Table, all_match, matches


def _one_way_to_a_certificate(tls: wire.Tls) -> bool:
    return [tls.secret_name is not None, tls.issuer is not None, tls.self_signed is True].count(True) == 1


_PATH_SENTENCE = (
    "path must start with '/' and have only letters, digits, '.', '_', '~', '-' and single slashes: write /faq"
)

ACCESS: Table = {
    wire.Ingress: (
        Rule(
            "tls needs a host that the certificate is for: write host: iris.example.com",
            lambda ingress: ingress.tls is None or ingress.host is not None,
        ),
        Rule(
            "host must be a full domain name in lower case without scheme, port or path, such as iris.example.com",
            matches("host", patterns.HOST),
            "host",
        ),
        Rule(_PATH_SENTENCE, matches("path", patterns.PATH), "path"),
    ),
    wire.Gateway: (
        Rule(
            "with redirectFrom, parentRefs must name the listeners for HTTPS, or HTTP is served by them too: write "
            "sectionName: https",
            lambda gateway: gateway.redirect_from is None or all(p.section_name for p in gateway.parent_refs),
        ),
        Rule(_PATH_SENTENCE, matches("path", patterns.PATH), "path"),
    ),
    wire.Tls: (
        Rule("write exactly one of secretName, issuer and selfSigned: true", _one_way_to_a_certificate),
        Rule(
            "issuerKind says what kind issuer is: write issuer too, or remove issuerKind",
            lambda tls: tls.issuer_kind is None or tls.issuer is not None,
        ),
    ),
    wire.AuthSettings: (
        Rule(
            "token goes with type: Token: remove it, or write type: Token",
            lambda auth: auth.token is None or auth.type == "Token",
        ),
    ),
    wire.Token: (
        Rule(
            "issuer and jwksUri go together: write both, or neither for the tokens of this cluster",
            lambda token: (token.issuer is None) == (token.jwks_uri is None),
        ),
        Rule(
            "issuer must be an https:// address without user, query and fragment, as the tokens write it: "
            "https://login.example.com/",
            matches("issuer", patterns.ISSUER),
            "issuer",
        ),
        Rule(
            "audience must be one name without spaces and commas: write iris.default",
            matches("audience", patterns.AUDIENCE),
            "audience",
        ),
        Rule(
            "jwksUri must be an https:// address without user and fragment: write https://login.example.com/keys",
            matches("jwks_uri", patterns.JWKS_URI),
            "jwksUri",
        ),
        Rule(
            "a subject must be one name in full, without spaces, commas and stars: write "
            "system:serviceaccount:NAMESPACE:NAME",
            all_match("subjects", patterns.SUBJECT),
            "subjects[]",
        ),
    ),
}
