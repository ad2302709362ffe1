//! Media types (RFC 9110, section 8.3): the one that a file gets by its name, and those that an administrator writes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::fields::{is_quoted_string, is_token, split_unquoted};

const UNKNOWN: &str = "application/octet-stream";

/// Text is declared to be UTF-8, because browsers guess if there is no declaration.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Source code and configuration. Browsers show plain text but save files of types that they do not know, such as
/// `text/x-rust` or `application/yaml`. `.ts` is more often TypeScript than an MPEG stream.
const PLAIN_TEXT_EXTENSIONS: &str = "
    adoc astro awk bash bat bib clj cljs cmake conf cr cts cu cuh d dart diff dockerfile edn editorconfig ejs
    el elm env erb erl ex exs f f90 fish fs fsx gd gitattributes gitignore glsl go gql gradle graphql groovy
    hcl hrl hs ino j2 java jl jsonc jsonl jsx kt kts lean lhs lisp lock lua m ml mli mts ndjson nim nix org
    pas patch php pl pm po properties proto ps1 psm1 pug pyi r rb rkt rmd rs rst sass scala scm scss sh sha256
    sql sum sv svelte svh swift tcl tex tf tfvars thrift tmpl toml ts tsx v vhdl vim vue wgsl yaml yml zig zsh
";

/// Text files that are known by their whole name.
const PLAIN_TEXT_NAMES: &str = "
    authors changelog copying dockerfile gemfile go.mod jenkinsfile justfile license makefile notice rakefile
    readme vagrantfile
";

/// The value of `Content-Type` for a file, by its name.
pub fn content_type(path: &str) -> Cow<'static, str> {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_in = |words: &str, word: &str| words.split_ascii_whitespace().any(|other| other == word);
    if is_in(PLAIN_TEXT_EXTENSIONS, extension) || is_in(PLAIN_TEXT_NAMES, &name) {
        return PLAIN_TEXT.into();
    }
    if let Some(media_type) = corrected(extension) {
        return media_type.into();
    }
    match mime_guess::from_ext(extension).first_raw() {
        None => UNKNOWN.into(),
        // XML declares its encoding itself, and a charset parameter would overrule it (RFC 7303, section 3).
        Some("text/xml") => "application/xml".into(),
        Some(text) if text.starts_with("text/") => format!("{text}; charset=utf-8").into(),
        Some(other) => other.into(),
    }
}

/// Types that mime_guess lacks or has wrong, because its table is older than their registration. Two have no registered
/// type: RPM packages get what Apache and nginx send, and a Jupyter notebook is a JSON text.
fn corrected(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "js" | "mjs" | "cjs" => "text/javascript; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "vcf" => "text/vcard; charset=utf-8",
        "ipynb" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "otf" => "font/otf",
        "woff" => "font/woff",
        "3mf" => "model/3mf",
        "obj" => "model/obj",
        "step" | "stp" => "model/step",
        "stl" => "model/stl",
        "deb" => "application/vnd.debian.binary-package",
        "rpm" => "application/x-rpm",
        "tgz" => "application/gzip",
        "zst" => "application/zstd",
        _ => return None,
    })
}

/// Types other than text that compress well.
const COMPRESSIBLE: [&str; 21] = [
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
    "model/obj",
    "model/stl",
];

/// Whether content of this type, given with or without parameters, compresses well. Images, sound, films and archives are
/// compressed already, and nothing is known of unknown types.
pub fn is_compressible(media_type: &str) -> bool {
    let name = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    name.starts_with("text/")
        || name.ends_with("+json")
        || name.ends_with("+xml")
        || COMPRESSIBLE.contains(&name.as_str())
}

/// A media type that an administrator has written, in a form that is safe in a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a media type such as text/plain, or text/html; charset=iso-8859-1")]
pub struct NotAMediaType;

impl MediaType {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MediaType {
    type Err = NotAMediaType;

    /// Reads `type/subtype` and parameters `; name=value`, in printable ASCII without backslashes. Text without a
    /// charset gets `charset=utf-8`, as by [`content_type`].
    fn from_str(text: &str) -> Result<Self, NotAMediaType> {
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\') {
            return Err(NotAMediaType);
        }
        let mut parts = split_unquoted(text.as_bytes(), b';');
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let slash = essence.iter().position(|&byte| byte == b'/').ok_or(NotAMediaType)?;
        if !is_token(&essence[..slash]) || !is_token(&essence[slash + 1..]) {
            return Err(NotAMediaType);
        }
        let is_text = essence.starts_with(b"text/");
        let mut has_charset = false;
        let mut written = essence;
        for parameter in parts {
            let equals = parameter.iter().position(|&byte| byte == b'=').ok_or(NotAMediaType)?;
            let (name, value) = (&parameter[..equals], &parameter[equals + 1..]);
            if !is_token(name) || !(is_token(value) || is_quoted_string(value)) {
                return Err(NotAMediaType);
            }
            has_charset |= name.eq_ignore_ascii_case(b"charset");
            written.extend([b"; ", parameter].concat());
        }
        if is_text && !has_charset {
            written.extend(b"; charset=utf-8");
        }
        String::from_utf8(written).map(Self).map_err(|_| NotAMediaType)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_what_browsers_need() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.CSS", "text/css; charset=utf-8"),
            ("a.HTM", "text/html; charset=utf-8"),
            ("a.md", "text/markdown; charset=utf-8"),
            ("a.tar.gz", "application/gzip"),
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
            ("x.woff", "font/woff"),
            ("x.rpm", "application/x-rpm"),
            ("x.obj", "model/obj"),
            ("x.STL", "model/stl"),
            ("notebook.ipynb", "application/json"),
            ("x.tgz", "application/gzip"),
            ("x.xz", "application/x-xz"),
            ("Makefile", "text/plain; charset=utf-8"),
            ("a.b/LICENSE", "text/plain; charset=utf-8"),
            ("x.go/data", "application/octet-stream"),
            ("go", "application/octet-stream"),
            ("makefile.unheard-of", "application/octet-stream"),
            ("x.unheard-of", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), expected, "{name}");
        }
    }

    #[test]
    fn source_files_are_plain_text() {
        let extensions = "
            bat bib c cc cfg cmd cpp cs dart diff ex gd go gradle h hs ini java jl kt kts lock log lua m ml nix patch php
            pl properties proto ps1 py r rb rs rst s scala scm sh sql sv svelte swift tcl tex tf toml ts tsx vhdl vue yml
        ";
        for extension in extensions.split_ascii_whitespace() {
            let name = format!("src/x.{extension}");
            assert_eq!(content_type(&name), "text/plain; charset=utf-8", "{name}");
            assert_eq!(content_type(&name.to_uppercase()), "text/plain; charset=utf-8", "{name}");
        }
    }

    #[test]
    fn reads_what_an_administrator_writes() {
        for (written, sent) in [
            ("text/plain", "text/plain; charset=utf-8"),
            (" Text/Plain ", "text/plain; charset=utf-8"),
            ("text/html;charset=ISO-8859-1", "text/html; charset=ISO-8859-1"),
            ("text/html; Charset=\"utf-8\"", "text/html; Charset=\"utf-8\""),
            ("application/x-ipynb+json", "application/x-ipynb+json"),
            ("video/webm ; codecs=\"vp8; vorbis\";a=b", "video/webm; codecs=\"vp8; vorbis\"; a=b"),
        ] {
            let parsed: MediaType = written.parse().expect("a good media type");
            assert_eq!((parsed.as_str(), parsed.to_string().as_str()), (sent, sent), "{written}");
        }
        for bad in [
            "",
            "text",
            "text/",
            "/plain",
            "text/plain/x",
            "text plain",
            "*.go=text/plain",
            "text/plain;",
            "text/plain; x",
            "text/plain; x=",
            "text/plain; =x",
            "text/plain; x = y",
            "text/plain; x=a b",
            "text/plain; x=\"a",
            "text/plain; x=\"a\"b",
            "text/plain; x=\"\\\"\"",
            "text/plain; x=\"\u{7f}\"",
            "text/plain\r\nX: y",
            "text/\u{fc}",
            "text/plain; x=\"\r\nX: y\"",
        ] {
            assert_eq!(bad.parse::<MediaType>(), Err(NotAMediaType), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_media_type_is_safe_in_a_header_field(
            text in "(text|a)/[a-z]{1,3}(; ?[a-z]=(\"[ -~\r\n\u{e9}]{0,5}\"|[ -~\r\n]{0,4})){0,2}",
        ) {
            if let Ok(media_type) = text.parse::<MediaType>() {
                prop_assert!(media_type.as_str().bytes().all(|byte| matches!(byte, b' '..=b'~')));
                prop_assert_eq!(media_type.as_str().parse(), Ok(media_type.clone()));
            }
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
