"""Makes a program of a file with handle(request): `python -c` this, and messages on standard input.

A message is its length as four bytes, little-endian, and so many bytes; answers are told likewise, so that
any text goes through.  The first message is JSON: {"file": name, "source": text, "path": [directory, ...]}.
Nothing answers it: whoever froze the program knows that all is well when the next message is waited for.
Each further message is given to handle() as text.  It answers with text, with bytes, or with anything else
that JSON can tell.

With "function": {"name": name, "parameters": count, "bytes": [index, ...], "kind": kind} in the first message
the file is one of functions instead.  A message is JSON then, and so is its answer:
  [argument, ...]                                    -> what name(argument, ...) gives
  {"args": [argument, ...], "document": {...}}       -> the same, and the file may `import spore` and ask
                                                        spore.document for the document's fields
  {"rows": [[argument, ...], ...], "documents": ...} -> [[true, result] or [false, "FILE:LINE: ERROR"], ...]
  {"step": [argument, ...]}, {"finish": true}        -> of an aggregate: name_step(...), name_finish()
Arguments at the indices "bytes" come in base64, and so do results that are bytes.

An error ends the program with exit code 1, and with its traceback on standard error, of which the last line
is "FILE:LINE: ERROR".  There is no need to go on: the next request is given a clean copy of this process.
"""

import binascii
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


def describe(error, file, line):
    """The traceback, and its last line.  `line`: told if no line of `file` is in it."""
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
    return "".join(told.format()), f"{where}: {summary}"


def fail(error, file, line):
    """Ends the program."""
    trace, summary = describe(error, file, line)
    text = f"{trace}{summary}\n"
    sys.__stderr__.flush()
    os.write(sys.__stderr__.fileno(), text.encode(errors="backslashreplace"))
    os._exit(1)


def load(file, source, path):
    """A module `handler` with that source."""
    sys.argv = [file]
    sys.path.extend(path)
    module = types.ModuleType("handler")
    module.__file__ = file
    sys.modules["handler"] = module
    source = source.removeprefix("\ufeff")
    # So that tracebacks show its lines: there is no such file here.
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    exec(compile(source, file, "exec"), module.__dict__)
    return module


def function_in(module, name, takes=""):
    function = module.__dict__.get(name)
    if not callable(function):
        raise AttributeError(f"it defines no function {name}{takes}")
    return function


class Document:
    """What the call is for: fields by path, `price.amount` or `tags[0]`.  None: there is no such field."""

    def __init__(self):
        self.fields = {}
        self.id = ""
        self.score = 0.0

    def get(self, path):
        if path in self.fields:
            return self.fields[path]
        value = self.fields
        for step in path.replace("]", "").replace("[", ".[").split("."):
            try:
                value = value[int(step[1:]) if step.startswith("[") else step]
            except (KeyError, IndexError, TypeError, ValueError):
                return None
        return value

    def get_string(self, path):
        value = self.get(path)
        return value if isinstance(value, str) else None

    def get_s64(self, path):
        value = self.get(path)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return int(value) if isinstance(value, int) else None

    def get_f64(self, path):
        value = self.get(path)
        return float(value) if isinstance(value, (int, float)) else None

    def get_bool(self, path):
        value = self.get(path)
        return bool(value) if isinstance(value, bool) or value in (0, 1) else None

    def get_bytes(self, path):
        value = self.get(path)
        return value.encode() if isinstance(value, str) else None

    def field_names(self):
        return list(self.fields)


class Functions:
    """Answers messages by the functions of a module."""

    def __init__(self, module, wanted, file, document):
        name = wanted["name"]
        self.document = document
        self.file = file
        self.bytes = wanted["bytes"]
        if wanted["kind"] == "aggregate":
            self.step = function_in(module, f"{name}_step")
            self.finish = function_in(module, f"{name}_finish")
            self.function = self.step
        else:
            self.function = function_in(module, name)
        self.least = wanted["parameters"]
        self.code = getattr(self.function, "__code__", None)
        if self.code is not None:
            self.check(name, wanted["parameters"])

    def check(self, name, count):
        most = self.code.co_argcount
        self.least = most - len(self.function.__defaults__ or ())
        varying = bool(self.code.co_flags & 4)  # *args
        if count < self.least or (count > most and not varying):
            takes = f"{most}" if self.least == most else f"{self.least} to {most}"
            raise TypeError(f"{name} takes {takes} arguments, its signature has {count}")

    def __call__(self, text):
        message = json.loads(text)
        if isinstance(message, list):
            return self.call(message, {})
        if "rows" in message:
            documents = message.get("documents")
            rows = message["rows"]
            return [
                self.row(rows[i], documents[i] if documents else {}) for i in range(len(rows))
            ]
        if "step" in message:
            self.step(*self.decode(message["step"]))
            return None
        if "finish" in message:
            return self.finish()
        return self.call(message["args"], message["document"])

    def decode(self, args):
        for index in self.bytes:
            args[index] = binascii.a2b_base64(args[index])
        # What a call leaves out has the default that the file says.
        while len(args) > self.least and args[-1] is None:
            args.pop()
        return args

    def call(self, args, document):
        self.document.fields = document.get("fields", {})
        self.document.id = document.get("id", "")
        self.document.score = document.get("score", 0.0)
        return self.function(*self.decode(args))

    def row(self, args, document):
        try:
            result = self.call(args, document)
            json.dumps(result, default=in_base64)
            return [True, result]
        except Exception as error:
            line = self.code.co_firstlineno if self.code is not None else None
            return [False, describe(error, self.file, line)[1]]


def in_base64(value):
    if isinstance(value, (bytes, bytearray)):
        return binascii.b2a_base64(value, newline=False).decode()
    raise TypeError(f"a result of type {type(value).__name__}, which is no JSON")


def functions_of(file, setup):
    document = Document()
    spore = types.ModuleType("spore")
    spore.document = document
    sys.modules["spore"] = spore
    module = load(file, setup["source"], setup["path"])
    functions = Functions(module, setup["function"], file, document)
    return lambda text: json.dumps(functions(text), ensure_ascii=False, default=in_base64)


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
        if "function" in setup:
            handle = functions_of(file, setup)
        else:
            handle = function_in(load(file, setup["source"], setup["path"]), "handle", "(request)")
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
