import json


def handle(request):
    """Answers one request.  Nothing that it changes is there for the next one.

    `request` is text.  The answer is text, bytes, or anything else that JSON can tell.
    """
    who = json.loads(request).get("name", "world")
    return {"greeting": f"Hello, {who}!"}
