//! Three typed functions: how alike two texts are, how far two places, and a rule of prices over a document.

use spore::document::fields;

wit_bindgen::generate!({
    path: ["../wit/document.wit", "function.wit"],
    world: "spore:guest/udf",
    generate_all,
});
export!(Udf);

struct Udf;

impl Guest for Udf {
    /// Sørensen and Dice's: twice the bigrams that both have, of all.
    fn similarity(a: String, b: String) -> f64 {
        if a.eq_ignore_ascii_case(&b) {
            return 1.0;
        }
        let (a, b) = (bigrams(&a), bigrams(&b));
        if a.is_empty() || b.is_empty() {
            return 0.0;
        }
        let (mut common, mut i, mut k) = (0, 0, 0);
        while i < a.len() && k < b.len() {
            common += usize::from(a[i] == b[k]);
            let (next_i, next_k) = (a[i] <= b[k], b[k] <= a[i]);
            i += usize::from(next_i);
            k += usize::from(next_k);
        }
        2.0 * common as f64 / (a.len() + b.len()) as f64
    }

    /// In km, by the haversine formula.
    fn distance(lat1: f64, lon1: f64, lat2: f64, lon2: f64) -> f64 {
        const RADIUS: f64 = 6371.0088;
        let x = ((lat2 - lat1).to_radians() / 2.0).sin();
        let y = ((lon2 - lon1).to_radians() / 2.0).sin();
        let h = x * x + lat1.to_radians().cos() * lat2.to_radians().cos() * y * y;
        2.0 * RADIUS * h.min(1.0).sqrt().asin()
    }

    /// The document's own price, if it has one, with what the rules make of it.
    fn price(base: f64) -> f64 {
        let mut price = fields::get_f64("price.amount").unwrap_or(base);
        if fields::get_bool("member") == Some(true) {
            price *= 0.9;
        }
        if fields::get_string("category").as_deref() == Some("book") {
            price *= 0.95;
        }
        if fields::get_s64("stock").is_some_and(|stock| stock < 3) {
            price *= 1.2;
        }
        if fields::get_string("tags[0]").as_deref() == Some("sale") {
            price *= 0.5;
        }
        price
    }
}

/// All pairs of neighbouring code points, in lower case, sorted.
fn bigrams(text: &str) -> Vec<(char, char)> {
    let lower = text.chars().map(|c| c.to_ascii_lowercase());
    let mut pairs: Vec<_> = lower.clone().zip(lower.skip(1)).collect();
    pairs.sort_unstable();
    pairs
}
