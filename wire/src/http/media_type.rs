//! Media types by file extension.

use std::borrow::Cow;

/// What to call a file whose extension says nothing.
const UNKNOWN: &str = "application/octet-stream";

/// Types beside text that become much smaller when they are compressed.
const COMPRESSIBLE: [&str; 19] = [
    "application/font-sfnt",
    "application/javascript",
    "application/json",
    "application/json5",
    "application/rtf",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-sh",
    "application/x-sql",
    "application/x-subrip",
    "application/x-tar",
    "application/xml",
    "application/xml-dtd",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

/// The value of `Content-Type` for a file name.
///
/// Text is declared to be UTF-8, since nothing else is written any more; browsers guess differently. Of JSON nothing else
/// is allowed, and XML says it itself: a declaration here would overrule what is in the file (RFC 7303, section 3). Sources
/// of TypeScript are text and not the MPEG stream that shares their extension.
pub fn content_type(path: &str) -> Cow<'static, str> {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "js" | "mjs" | "cjs" => return "text/javascript; charset=utf-8".into(),
        "ts" | "mts" | "cts" | "tsx" | "jsx" => return "text/plain; charset=utf-8".into(),
        "md" => return "text/markdown; charset=utf-8".into(),
        "map" => return "application/json".into(),
        "webmanifest" => return "application/manifest+json".into(),
        "wasm" => return "application/wasm".into(),
        "otf" => return "font/otf".into(),
        _ => {}
    }
    match mime_guess::from_ext(&extension).first_raw() {
        None => UNKNOWN.into(),
        Some("text/xml") => "application/xml".into(),
        Some(text) if text.starts_with("text/") => format!("{text}; charset=utf-8").into(),
        Some(other) => other.into(),
    }
}

/// Whether content of this type, given with or without parameters, becomes much smaller when it is compressed. Images, sound,
/// films and archives are compressed in themselves, and of what is unknown nobody can say.
pub fn is_compressible(media_type: &str) -> bool {
    let name = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    name.starts_with("text/")
        || name.ends_with("+json")
        || name.ends_with("+xml")
        || COMPRESSIBLE.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("app.js.map", "application/json"),
            ("table.csv", "text/csv; charset=utf-8"),
            ("lines.vtt", "text/vtt; charset=utf-8"),
            ("feed.xml", "application/xml"),
            ("style.xsl", "application/xml"),
            ("page.xhtml", "application/xhtml+xml"),
            ("feed.atom", "application/atom+xml"),
            ("site.webmanifest", "application/manifest+json"),
            ("x.svg", "image/svg+xml"),
            ("favicon.ico", "image/x-icon"),
            ("x.otf", "font/otf"),
            ("x.png", "image/png"),
            ("x.wasm", "application/wasm"),
            ("x.woff2", "font/woff2"),
            ("Makefile", "application/octet-stream"),
            ("x.unheard-of", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), expected, "{name}");
        }
    }
    #[test]
    fn compresses_what_gets_smaller() {
        for name in [
            "a.html",
            "a.css",
            "a.js",
            "a.json",
            "a.map",
            "a.svg",
            "a.xml",
            "a.xhtml",
            "a.wasm",
            "a.txt",
            "a.csv",
            "a.md",
            "a.ttf",
            "a.otf",
            "a.eot",
            "a.ico",
            "a.bmp",
            "a.webmanifest",
            "a.geojson",
            "a.rss",
            "a.gltf",
        ] {
            assert!(is_compressible(&content_type(name)), "{name}");
        }
        for name in [
            "a.png",
            "a.jpg",
            "a.gif",
            "a.webp",
            "a.avif",
            "a.woff",
            "a.woff2",
            "a.zip",
            "a.gz",
            "a.7z",
            "a.mp4",
            "a.webm",
            "a.mp3",
            "a.ogg",
            "a.pdf",
            "a.docx",
            "a",
            "a.unheard-of",
        ] {
            assert!(!is_compressible(&content_type(name)), "{name}");
        }
        assert!(is_compressible("Application/JSON ; charset=utf-8"));
        assert!(!is_compressible("") && !is_compressible("; text/html"));
    }
}
