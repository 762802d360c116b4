wit_bindgen::generate!({
    path: ["document.wit", "function.wit"],
    world: "local:functions/functions",
    generate_all,
});
export!(Functions);

struct Functions;

impl Guest for Functions {
    /// The length of the text in code points, times the boost.
    fn @IDENT@(text: String, boost: f64) -> f64 {
        text.chars().count() as f64 * boost
    }
}
