//! Reads the searches that a user types.

use std::io::IsTerminal as _;

use wire::Search;
use wire::escape::Escaped;
use wire::search::BadSearch;

/// How many matches a search shows at once.
pub(super) const MATCHES_SHOWN: u32 = 1000;

/// Reads a search. An error names the column; on a terminal, a caret points at it.
pub(super) fn read(text: &str) -> Result<Search, String> {
    text.parse().map_err(|bad: BadSearch| {
        let said = format!("cannot search for {}: {bad}", Escaped(text));
        if std::io::stderr().is_terminal() { format!("{said}\n{}", pointed(text, bad.column)) } else { said }
    })
}

/// The text, and below it a caret at a column.
fn pointed(text: &str, column: usize) -> String {
    let before: String = text.chars().take(column - 1).collect();
    let spaces = " ".repeat(Escaped(&before).to_string().chars().count());
    format!("    {}\n    {spaces}^", Escaped(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_is_below_the_column() {
        assert_eq!(pointed("sea (tide", 5), "    sea (tide\n        ^");
        assert_eq!(pointed("a\tb |", 5), "    a\\tb |\n         ^");
        let error = read("sea (tide").expect_err("a parenthesis is open");
        assert!(error.starts_with("cannot search for sea (tide: column 5: "), "{error}");
    }
}
