//! How texts are compared in searches: without case, and word by word.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// A text in Unicode lower case and Normalization Form C, so that neither case nor the encoding of an accent matters.
pub fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase().nfc().collect())
    }
}

/// The words of a folded text: its longest runs of letters, digits and combining marks.
pub fn words(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|c: char| !is_of_word(c)).filter(|word| !word.is_empty())
}

fn is_of_word(c: char) -> bool {
    // The table of combining marks is looked at last, because few characters get there.
    c.is_alphanumeric() || (!c.is_ascii() && is_combining_mark(c))
}

/// Whether the words of `phrase` stand one after the other in `text`. Both are folded. No word stands everywhere.
pub fn has_phrase(text: &str, phrase: &str) -> bool {
    let phrase: Vec<&str> = words(phrase).collect();
    let text: Vec<&str> = words(text).collect();
    phrase.is_empty() || text.windows(phrase.len()).any(|window| window == phrase)
}

/// Whether the name of a file ends with a dot and this extension. Both are folded.
pub fn has_extension(name: &str, extension: &str) -> bool {
    name.strip_suffix(extension).is_some_and(|stem| stem.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_digits_and_marks() {
        let of = |text: &str| words(&folded(text)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(of("Low-Water_2 (final).TXT"), ["low", "water", "2", "final", "txt"]);
        assert_eq!(of("Cre\u{300}me 世界 क्षि"), ["crème", "世界", "क्षि"]);
        assert_eq!(of(" ++ -- "), Vec::<String>::new());
    }

    #[test]
    fn a_phrase_is_a_run_of_whole_words() {
        for (text, phrase, is_in) in [
            ("high water mark", "water mark", true),
            ("high water mark", "high-water", true),
            ("high water mark", "high mark", false),
            ("highwater", "high", false),
            ("a", "a b", false),
        ] {
            assert_eq!(has_phrase(text, phrase), is_in, "{phrase} in {text}");
        }
    }

    #[test]
    fn an_extension_follows_a_dot() {
        for (name, extension, has) in [
            ("a.tar.gz", "gz", true),
            ("a.tar.gz", "tar.gz", true),
            ("a.tar.gz", "z", false),
            ("pdf", "pdf", false),
        ] {
            assert_eq!(has_extension(name, extension), has, "{name} {extension}");
        }
    }
}
