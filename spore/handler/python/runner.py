"""Makes a program of a file with handle(request): `python -c` this, and messages on standard input.

A message is its length as four bytes, little-endian, and so many bytes; answers are told likewise, so that
any text goes through.  The first message is JSON: {"file": name, "source": text, "path": [directory, ...]}.
Nothing answers it: whoever froze the program knows that all is well when the next message is waited for.
Each further message is given to handle() as text.  It answers with text, with bytes, or with anything else
that JSON can tell.

An error ends the program with exit code 1, and with its traceback on standard error, of which the last line
is "FILE:LINE: ERROR".  There is no need to go on: the next request is given a clean copy of this process.
"""

import gc
import json
import linecache
import os
import sys
import traceback
import types

INPUT, OUTPUT = 0, 1
LENGTH_BYTES = 4
READ_BYTES_MIN = 4096
READ_BYTES_MAX = 1 << 20
SEED_BYTES = 16


buffered = b""  # read, and of the next message; nothing where the program is frozen


def read_message():
    """Bytes; None at the end of input."""
    global buffered
    data = buffered
    end = LENGTH_BYTES
    while True:
        if len(data) >= end:
            end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
            if len(data) >= end:
                break
        # A short message takes one read, a long one no room that it does not need.
        more = os.read(INPUT, min(max(end - len(data), READ_BYTES_MIN), READ_BYTES_MAX))
        if not more:
            if not data:
                return None
            raise EOFError("standard input ended in the middle of a message")
        data += more
    buffered = data[end:]
    return data[LENGTH_BYTES:end]


def write_message(data):
    data = len(data).to_bytes(LENGTH_BYTES, "little") + data
    while data:
        data = data[os.write(OUTPUT, data) :]


def encode(result):
    if isinstance(result, (bytes, bytearray)):
        return bytes(result)
    if not isinstance(result, str):
        result = json.dumps(result, ensure_ascii=False)
    return result.encode()


def fail(error, file, line):
    """Ends the program.  `line`: told if no line of `file` is in the traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    for frame, number in traceback.walk_tb(trace):
        if frame.f_code.co_filename == file:
            line = number
    told = traceback.TracebackException(type(error), error, trace)
    summary = next(told.format_exception_only()).splitlines()[0]
    if isinstance(error, SyntaxError):
        summary = f"{type(error).__name__}: {error.msg}"
        if error.filename == file:
            line = error.lineno
    where = file if line is None else f"{file}:{line}"
    text = "".join(told.format()) + f"{where}: {summary}\n"
    sys.__stderr__.flush()
    os.write(sys.__stderr__.fileno(), text.encode(errors="backslashreplace"))
    os._exit(1)


def load(file, source, path):
    """The function handle() of a module `handler` with that source."""
    sys.argv = [file]
    sys.path.extend(path)
    module = types.ModuleType("handler")
    module.__file__ = file
    sys.modules["handler"] = module
    source = source.removeprefix("\ufeff")
    # So that tracebacks show its lines: there is no such file here.
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    exec(compile(source, file, "exec"), module.__dict__)
    handle = module.__dict__.get("handle")
    if not callable(handle):
        raise AttributeError("it defines no function handle(request)")
    return handle


def answer(handle, request):
    # What was drawn before the program was frozen would be drawn again in each request.
    random = sys.modules.get("random")
    if random is not None:
        # By a number: of its own it would draw 2,496 bytes.
        random.seed(int.from_bytes(os.urandom(SEED_BYTES), "little"))
    return encode(handle(request.decode()))


def main():
    first = read_message()
    if first is None:
        return
    setup = json.loads(first)
    file = setup["file"]
    # Standard streams are for messages: what a handler prints goes to standard error.
    sys.stdin = None
    sys.stdout = sys.stderr
    try:
        handle = load(file, setup["source"], setup["path"])
    except BaseException as error:
        fail(error, file, None)
    line = getattr(getattr(handle, "__code__", None), "co_firstlineno", None)
    # Requests would look through all that is there by now, and so write to the pages that it is in.
    gc.collect()
    gc.freeze()
    while True:
        request = read_message()
        if request is None:
            return
        try:
            data = answer(handle, request)
        except BaseException as error:
            fail(error, file, line)
        sys.stderr.flush()
        write_message(data)


__file__ = sys._getframe().f_code.co_filename
main()
