"""A file server that answers ranges as RFC 9110 says (14 and 15.3.7), as conversations."""


def request(target, *, ranges="", more="", method="GET", host="www.example.com"):
    """A request, for everything or for `ranges` as they stand behind ``bytes=``."""
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: wget/1.20\r\n"
    if ranges:
        head += f"Range: bytes={ranges}\r\n"
    return (head + more + "\r\n").encode()


def whole(body, *, etag='"v1"', media_type="video/x-ms-wmv", cut=None):
    """A response with everything; `cut` leaves it unfinished."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nAccept-Ranges: bytes\r\nETag: {etag}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body[:cut]


def part(body, begin, end, *, etag='"v1"', media_type="video/x-ms-wmv", cut=None, total=None):
    """A response with the bytes from `begin` up to `end`; `total` stands for the size of the file."""
    head = (
        f"HTTP/1.1 206 Partial Content\r\nContent-Type: {media_type}\r\nETag: {etag}\r\n"
        f"Content-Range: bytes {begin}-{end - 1}/{len(body) if total is None else total}\r\n"
        f"Content-Length: {end - begin}\r\n\r\n"
    )
    return head.encode() + body[begin:end][:cut]


def parts(body, ranges, *, etag='"v1"', mark="THIS_STRING_SEPARATES"):
    """A response of the type multipart/byteranges [RFC 9110 14.6]."""
    sent = b""
    for begin, end in ranges:
        sent += (
            f"\r\n--{mark}\r\nContent-Type: video/x-ms-wmv\r\n"
            f"Content-Range: bytes {begin}-{end - 1}/{len(body)}\r\n\r\n"
        ).encode() + body[begin:end]
    sent += f"\r\n--{mark}--\r\n".encode()
    head = (
        f"HTTP/1.1 206 Partial Content\r\nETag: {etag}\r\nContent-Length: {len(sent)}\r\n"
        f"Content-Type: multipart/byteranges; boundary={mark}\r\n\r\n"
    )
    return head.encode() + sent
