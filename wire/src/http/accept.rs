//! Content negotiation between HTML and JSON (RFC 9110, section 12.5.1).

use super::fields::{Fields, Weight, list_items, split_weight};

/// Whether a client prefers JSON over HTML, where the server can give either.
///
/// The greater weight decides. Between equal weights the type that is named more specifically wins, because programs send
/// `application/json, */*`. Otherwise the answer is HTML, for example for `*/*`.
pub fn prefers_json(fields: Fields<'_>) -> bool {
    let json = preference(fields, [b"*/*", b"application/*", b"application/json"]);
    json > preference(fields, [b"*/*", b"text/*", b"text/html"])
}

/// The weight of a media type, and how specific the media range is that gives it: 1 to 3, or 0 if the type is not
/// acceptable. `ranges` are those that match the type, the most specific one last; the most specific one in the
/// request decides.
fn preference(fields: Fields<'_>, ranges: [&[u8]; 3]) -> (Weight, usize) {
    let specificity = |range: &[u8]| ranges.iter().position(|matching| range.eq_ignore_ascii_case(matching));
    fields
        .values("accept")
        .flat_map(list_items)
        .filter_map(split_weight)
        .filter_map(|(range, weight)| Some((specificity(range)? + 1, weight)))
        .max_by_key(|&(specificity, _)| specificity)
        .filter(|&(_, weight)| weight > Weight::ZERO)
        .map_or((Weight::ZERO, 0), |(specificity, weight)| (weight, specificity))
}
