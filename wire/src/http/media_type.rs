//! Media types by file extension.

use std::borrow::Cow;

/// What to call a file whose extension says nothing.
const UNKNOWN: &str = "application/octet-stream";

/// The value of `Content-Type` for a file name.
///
/// Text is declared to be UTF-8, since nothing else is written any more; browsers guess differently. Sources of
/// TypeScript are text and not the MPEG stream that shares their extension.
pub fn content_type(path: &str) -> Cow<'static, str> {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "js" | "mjs" | "cjs" => return "text/javascript; charset=utf-8".into(),
        "ts" | "mts" | "cts" | "tsx" | "jsx" => return "text/plain; charset=utf-8".into(),
        "md" => return "text/markdown; charset=utf-8".into(),
        "map" => return "application/json".into(),
        "webmanifest" => return "application/manifest+json".into(),
        "wasm" => return "application/wasm".into(),
        _ => {}
    }
    let Some(guess) = mime_guess::from_ext(&extension).first_raw() else {
        return UNKNOWN.into();
    };
    if guess.starts_with("text/") {
        return format!("{guess}; charset=utf-8").into();
    }
    guess.into()
}

#[cfg(test)]
mod tests {
    use super::content_type;

    #[test]
    fn names_what_browsers_need() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.CSS", "text/css; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.ts", "text/plain; charset=utf-8"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("data.json", "application/json"),
            ("x.svg", "image/svg+xml"),
            ("x.png", "image/png"),
            ("x.wasm", "application/wasm"),
            ("x.woff2", "font/woff2"),
            ("Makefile", "application/octet-stream"),
            ("x.unheard-of", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), expected, "{name}");
        }
    }
}
