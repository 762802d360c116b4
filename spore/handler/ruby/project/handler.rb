require "json"

# Answers one request.  Nothing that it changes is there for the next one.
#
# `request` is a String, in UTF-8.  The answer is a String, or anything else that JSON can tell.
def handle(request)
  who = JSON.parse(request).fetch("name", "world")
  { greeting: "Hello, #{who}!" }
end
