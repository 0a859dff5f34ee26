"""Authentication headers and URLs with passwords."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.protocols.authentication import (
    Authentication,
    basic_of,
    digest_line,
    parse_authentication,
    token_bytes,
    user_info,
)

# RFC 7616 3.9.1 with MD5
DIGEST = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=MD5, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
    'response="8ca523f5e9506fed4657c9700eebdbec", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def test_several_challenges_in_one_header():
    header = 'Negotiate, NTLM, Digest qop="auth,auth-int", realm="a, b", nonce=x, Basic realm=c'
    found = parse_authentication(header)
    assert [f.scheme for f in found] == ["negotiate", "ntlm", "digest", "basic"]
    assert found[2].parameters == {"qop": "auth,auth-int", "realm": "a, b", "nonce": "x"}
    assert found[3].parameters == {"realm": "c"}


def test_tokens():
    assert parse_authentication("NTLM TlRMTVNTUAA=") == [Authentication("ntlm", "TlRMTVNTUAA=", {})]
    assert (
        parse_authentication("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")[0].token == "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    )
    assert basic_of(token_bytes("QWxhZGRpbjpvcGVuIHNlc2FtZQ==")) == ("Aladdin", "open sesame")  # RFC 7617 2
    assert basic_of(token_bytes("dGVzdDoxMjPCow==")) == ("test", "123£")  # RFC 7617 2.1
    assert token_bytes("%%%") is None
    assert basic_of(b"no colon") is None


def test_digest_as_hashcat_takes_it():
    (answer,) = parse_authentication(DIGEST)
    mode, line = digest_line(answer.parameters, "GET")
    assert mode == 11400
    fields = line.split("*")
    assert len(fields) == 15
    # hashcat: MD5(MD5(user:realm:password):nonce:nc:cnonce:qop:MD5(method:[prefix:]resource[:suffix]))
    _, _, _, user, realm, method, prefix, resource, suffix, nonce, cnonce, nc, qop, kind, response = fields
    assert (prefix, suffix, kind) == ("", "", "MD5")

    def md5(text):
        return hashlib.md5(text.encode()).hexdigest()

    secret = md5(f"{user}:{realm}:Circle of Life")
    assert md5(f"{secret}:{nonce}:{nc}:{cnonce}:{qop}:" + md5(f"{method}:{resource}")) == response


def test_digest_that_hashcat_has_no_form_for():
    (answer,) = parse_authentication(DIGEST)
    for name, value in (("algorithm", "SHA-256"), ("qop", "auth-int"), ("response", "x"), ("nonce", "a*b")):
        assert digest_line({**answer.parameters, name: value}, "GET") is None


def test_users_and_passwords_in_urls():
    assert user_info("mms://bob:p@ss@192.0.2.1/a.wmv and http://x/") == [("bob", "p@ss")]
    assert user_info("http://host:80/a@b") == []


@given(st.text(max_size=80))
def test_any_header_is_read(value):
    for found in parse_authentication(value):
        assert found.scheme == found.scheme.lower()
        digest_line(found.parameters, "GET")
        if found.token:
            token_bytes(found.token)
    user_info(value)
