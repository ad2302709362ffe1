//! Text from another machine, made safe to show on a terminal or in a log.

use std::fmt::{self, Write as _};

/// Displays text for people: every character that a terminal acts on is escaped.
///
/// Control characters (C0, DEL, C1) can move the cursor or change the terminal's state. Bidirectional controls and
/// invisible characters can make text read differently from what it says. All of them appear as `\n`, `\t` or `\u{..}`,
/// and a backslash appears as `\\`, so that the sender of the text cannot forge an escape.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if is_unsafe_to_show(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Displays what a person has written as they wrote it, with emoji, combining characters and backslashes. Control characters
/// and those that override the direction of the text around them appear as `\u{..}`; line breaks are among them.
///
/// Text that looks like an escape is therefore not told apart from one. Use [`Escaped`] for names and values.
pub struct Readable<'a>(pub &'a str);

impl fmt::Display for Readable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\t' => f.write_str("    ")?,
                c if c.is_control() || overrides_layout(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a character separates lines, or embeds, overrides or isolates text of another direction (Unicode TR 9, section 2).
fn overrides_layout(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Displays a JSON text (RFC 8259) with the same characters escaped as in [`Escaped`], as `\u` and four hex digits.
///
/// The result is valid JSON with the same value, because outside its strings a JSON text has none of these characters
/// except for line breaks and tabs, which stay. JSON serializers escape C0 controls, but neither DEL, C1 controls
/// nor bidirectional controls.
pub struct EscapedJson<'a>(pub &'a str);

impl fmt::Display for EscapedJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_escaped = |c| is_unsafe_to_show(c) && !matches!(c, '\n' | '\r' | '\t');
        let mut rest = self.0;
        // Nearly all texts have no such character and are written at once.
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_escaped(*c)) {
            f.write_str(&rest[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(f, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// Whether a character is a control, is invisible, or changes the direction of the text around it (Unicode TR 36,
/// section 2.6).
fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        let hostile = "a\x1b[2Jb\u{9b}c\u{202e}d\\e\nf\u{7f}";
        assert_eq!(Escaped(hostile).to_string(), "a\\u{1b}[2Jb\\u{9b}c\\u{202e}d\\\\e\\nf\\u{7f}");
        assert_eq!(Escaped("grüße 世界 ✓").to_string(), "grüße 世界 ✓");
    }

    #[test]
    fn what_people_write_stays_readable() {
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
        let scotland = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}";
        for text in [family, scotland, "\u{2764}\u{fe0f}", "e\u{301}", "C:\\n", "שלום\u{200f}!"] {
            assert_eq!(Readable(text).to_string(), text);
        }
        let hostile = "a\x1b[2J\u{9b}2J\u{202e}\u{2066}\u{2028}\nb";
        let escaped = "a\\u{1b}[2J\\u{9b}2J\\u{202e}\\u{2066}\\u{2028}\\u{a}b";
        assert_eq!(Readable(hostile).to_string(), escaped);
    }

    /// All C1 controls, DEL, and all characters with the Unicode property Bidi_Control.
    fn passed_by_serializers() -> impl Iterator<Item = char> {
        let bidi = ['\u{61c}', '\u{200e}', '\u{200f}'];
        let ranges = ['\u{7f}'..='\u{9f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
        ranges.into_iter().flatten().chain(bidi)
    }

    #[test]
    fn no_control_of_a_terminal_or_of_direction_passes() {
        for c in passed_by_serializers() {
            let json = serde_json::to_string(&format!("a{c}b")).expect("a string is JSON");
            assert!(json.contains(c), "the serializer escapes {c:?} itself, so this test shows nothing");
            assert_eq!(EscapedJson(&json).to_string(), format!("\"a\\u{:04x}b\"", u32::from(c)));
            assert!(!Escaped(&json).to_string().contains(c), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn escaped_json_has_the_same_value(text: String, steering in "[\u{7f}-\u{9f}\u{202a}-\u{202e}\u{e0000}-\u{e007f}]*") {
            let value = serde_json::json!({ &text: [steering, text], "n": 1 });
            for json in [value.to_string(), format!("{value:#}")] {
                let escaped = EscapedJson(&json).to_string();
                prop_assert!(!escaped.contains(|c| is_unsafe_to_show(c) && c != '\n'));
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped)?, value.clone());
            }
        }
    }
}
