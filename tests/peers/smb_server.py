"""A file read from, or written to, a file server, as MS-SMB2 and MS-CIFS say; as conversations."""

import struct

FILE_ID = bytes(range(16))


def framed(message):
    """Framing over TCP [MS-SMB2 2.1]."""
    return b"\0" + len(message).to_bytes(3, "big") + message


def smb2(command, number, body, *, answer=False, status=0, following=0):
    """Header [MS-SMB2 2.2.1.2] and body."""
    flags = 1 if answer else 0
    head = b"\xfeSMB" + struct.pack(
        "<HHIHHIIQIIQ16s", 64, 1, status, command, 1, flags, following, number, 0xFEFF, 5, 9, bytes(16)
    )
    return head + body


def negotiate(number=0):
    """What a connection begins with: longer than what is looked at of connections unknown."""
    return [
        ("c", framed(smb2(0, number, struct.pack("<HHHHI16sQ", 36, 1, 1, 0, 0, bytes(16), 0) + bytes(900)))),
        ("s", framed(smb2(0, number, struct.pack("<H", 65) + bytes(900), answer=True))),
    ]


def opened(name, size, number=1):
    """CREATE [2.2.13, 2.2.14]."""
    wide = name.encode("utf-16-le")
    asked = (
        struct.pack("<HBBIQQIIIIIHHII", 57, 0, 0, 2, 0, 0, 0x120089, 0, 7, 1, 0, 120, len(wide), 0, 0) + wide
    )
    times = bytes(32)
    answer = struct.pack("<HBBI", 89, 0, 0, 1) + times + struct.pack("<QQII", size, size, 0, 0) + FILE_ID
    return [
        ("c", framed(smb2(5, number, asked))),
        ("s", framed(smb2(5, number, answer + bytes(8), answer=True))),
    ]


def read_request(number, offset, length):
    """READ request [2.2.19]."""
    body = struct.pack("<HBBIQ16sIIIHH", 49, 80, 0, length, offset, FILE_ID, 0, 0, 0, 0, 0) + b"\0"
    return framed(smb2(8, number, body))


def read_answer(number, data):
    """READ response [2.2.20]."""
    return framed(smb2(8, number, struct.pack("<HBBIII", 17, 80, 0, len(data), 0, 0) + data, answer=True))


def write_request(number, offset, data):
    """WRITE request [2.2.21]."""
    body = struct.pack("<HHIQ16sIIHHI", 49, 112, len(data), offset, FILE_ID, 0, 0, 0, 0, 0) + data
    return framed(smb2(9, number, body))


def write_answer(number, size):
    """WRITE response [2.2.22]."""
    return framed(smb2(9, number, struct.pack("<HHIIHH", 17, 0, size, 0, 0, 0), answer=True))


def read_file(data, *, name="films\\film.wmv", block=20_000, ahead=1):
    """A conversation that reads a file: its first block, then `ahead` at once, answered the last first."""
    conversation = [*negotiate(), *opened(name, len(data))]
    conversation += [("c", read_request(9, 0, block)), ("s", read_answer(9, data[:block]))]
    blocks = list(enumerate(range(block, len(data), block), 10))
    for begin in range(0, len(blocks), ahead):
        batch = blocks[begin : begin + ahead]
        conversation.append(("c", b"".join(read_request(n, at, block) for n, at in batch)))
        conversation += [("s", read_answer(n, data[at : at + block])) for n, at in reversed(batch)]
    return conversation


def written_file(data, *, name="films\\film.wmv", block=20_000):
    """A conversation that writes one."""
    conversation = [*negotiate(), *opened(name, 0)]
    for number, at in enumerate(range(0, len(data), block), 10):
        conversation.append(("c", write_request(number, at, data[at : at + block])))
        conversation.append(("s", write_answer(number, block)))
    return conversation


def smb1(command, number, words, tail, *, answer=False):
    """Header [MS-CIFS 2.2.3.1], parameters and data."""
    head = b"\xffSMB" + struct.pack(
        "<BIBHHQHHHHH", command, 0, 0x80 if answer else 0, 0x8000, 0, 0, 0, 4, 100, 1, number
    )
    return framed(head + bytes([len(words) // 2]) + words + struct.pack("<H", len(tail)) + tail)


def read_file_smb1(data, *, name="film.wmv", block=16_000):
    """The same in the older dialect: NT_CREATE_ANDX and READ_ANDX [2.2.4.64, 2.2.4.42]."""
    wide = b"\0" + name.encode("utf-16-le") + b"\0\0"
    asked = struct.pack("<BBHBH", 255, 0, 0, 0, len(wide) - 1) + bytes(41)
    given = struct.pack("<BBHBH", 255, 0, 0, 0, 77) + bytes(48) + struct.pack("<Q", len(data)) + bytes(5)
    conversation = [
        ("c", smb1(0x72, 0, b"", bytes(900))),
        ("s", smb1(0x72, 0, b"", bytes(900), answer=True)),
        ("c", smb1(0xA2, 1, asked, wide)),
        ("s", smb1(0xA2, 1, given, b"", answer=True)),
    ]
    for number, at in enumerate(range(0, len(data), block), 2):
        part = data[at : at + block]
        request = struct.pack("<BBHHIHHIHI", 255, 0, 0, 77, at, block, 0, 0, 0, 0)
        answer = struct.pack("<BBHHHHHHH8s", 255, 0, 0, 0, 0, 0, len(part), 60, 0, bytes(8))
        conversation.append(("c", smb1(0x2E, number, request, b"")))
        conversation.append(("s", smb1(0x2E, number, answer, b"\0" + part, answer=True)))
    return conversation
