//! Content negotiation between HTML and JSON (RFC 9110, section 12.5.1).

use super::fields::{Fields, Weight, list_items, split_weight};

/// Whether a client prefers JSON over HTML, where the server can give either.
///
/// The greater weight decides. Between equal weights the type that is named more specifically wins, because programs send
/// `application/json, */*`. Otherwise the answer is HTML, for example for `*/*`.
pub fn prefers_json(fields: Fields<'_>) -> bool {
    let mut json = Preference::default();
    let mut html = Preference::default();
    for (range, weight) in fields.values("accept").flat_map(list_items).filter_map(split_weight) {
        json.add(range, weight, [b"*/*", b"application/*", b"application/json"]);
        html.add(range, weight, [b"*/*", b"text/*", b"text/html"]);
    }
    json.rank() > html.rank()
}

/// What `Accept` says of one media type.
#[derive(Debug, Clone, Copy, Default)]
struct Preference {
    /// How specific the media range is that matches the type, 1 to 3; 0 if none does.
    specificity: usize,
    weight: Weight,
}

impl Preference {
    /// Applies `range` if it is one of the matching `ranges`, which are given with the most specific one last. The most
    /// specific matching range gives the weight (RFC 9110, section 12.5.1).
    fn add(&mut self, range: &[u8], weight: Weight, ranges: [&[u8]; 3]) {
        let Some(index) = ranges.iter().position(|matching| range.eq_ignore_ascii_case(matching)) else {
            return;
        };
        if index + 1 >= self.specificity {
            *self = Self { specificity: index + 1, weight };
        }
    }

    fn rank(self) -> (Weight, usize) {
        (self.weight, if self.weight == Weight::ZERO { 0 } else { self.specificity })
    }
}
