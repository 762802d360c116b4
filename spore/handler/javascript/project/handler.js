/**
 * Answers one request.  Nothing that it changes is there for the next one.
 *
 * `request` is text.  The answer is text, a Uint8Array, or anything else that JSON can tell, or a promise of it.
 */
export function handle(request) {
  const { name = "world" } = JSON.parse(request);
  return { greeting: `Hello, ${name}!` };
}
