//! Text from another machine, made safe to show on a terminal or in a log.

use std::fmt::{self, Write as _};

/// Displays a text with everything escaped that could move a cursor, change a colour or reorder what is read.
///
/// Control characters (C0, DEL, C1) and the characters that steer bidirectional text or are invisible appear as
/// `\u{..}`; a backslash is doubled so that an escape cannot be forged. Everything else is shown as it is.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() || steers_the_reader(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a character is invisible or changes the direction of the text around it (Unicode TR 36, section 2.6).
fn steers_the_reader(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        let hostile = "a\x1b[2Jb\u{9b}c\u{202e}d\\e\nf\u{7f}";
        assert_eq!(Escaped(hostile).to_string(), "a\\u{1b}[2Jb\\u{9b}c\\u{202e}d\\\\e\\nf\\u{7f}");
        assert_eq!(Escaped("grüße 世界 ✓").to_string(), "grüße 世界 ✓");
    }
}
