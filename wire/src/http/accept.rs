//! Which media type a client would rather have (RFC 9110, section 12.5.1).

use super::fields::{Fields, Weight, list_items, split_weight};

/// Whether a client wants JSON rather than HTML, where the server can give either.
///
/// The greater weight decides; between equals, what is named more exactly: `application/json, */*` is a program that asks
/// for JSON, and `*/*` alone is as good as nothing, which is HTML.
pub fn prefers_json(fields: Fields<'_>) -> bool {
    let mut json = Preference::default();
    let mut html = Preference::default();
    for (range, weight) in fields.values("accept").flat_map(list_items).filter_map(split_weight) {
        json.add(range, weight, [b"*/*", b"application/*", b"application/json"]);
        html.add(range, weight, [b"*/*", b"text/*", b"text/html"]);
    }
    json.rank() > html.rank()
}

/// What an `Accept` says of one media type.
#[derive(Debug, Clone, Copy, Default)]
struct Preference {
    /// How exactly the type was named, 1 to 3; 0 if it was not.
    exactness: usize,
    weight: Weight,
}

impl Preference {
    /// The most exact range that fits decides, whatever its weight. `ranges` are those that fit, the most exact last.
    fn add(&mut self, range: &[u8], weight: Weight, ranges: [&[u8]; 3]) {
        let Some(index) = ranges.iter().position(|fitting| range.eq_ignore_ascii_case(fitting)) else {
            return;
        };
        if index + 1 >= self.exactness {
            *self = Self { exactness: index + 1, weight };
        }
    }

    fn rank(self) -> (Weight, usize) {
        (self.weight, if self.weight == Weight::ZERO { 0 } else { self.exactness })
    }
}
