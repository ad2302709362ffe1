//! The grammar of values for the server as a whole, and how a value is read from text or from TOML.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use actors::config::{AccessLogFormat, Listen};
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Mode of a Unix socket without `,mode=`: its owner and its group may connect.
const UNIX_SOCKET_MODE: u32 = 0o660;
/// `sun_path` of `unix(7)` has 108 bytes, and the last one is NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;
/// A longer timeout is most likely a wrong unit.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Bounds of a [`Lifetime`]; the disk has seconds.
const LIFETIME_MIN: Duration = Duration::from_secs(1);
const LIFETIME_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// A value of an option, and the text that it was read from, which `--check` prints.
#[derive(Debug, Clone)]
pub(super) struct Setting<T> {
    pub(super) text: String,
    pub(super) value: T,
}

/// The grammar of a value, which is the same on the command line, in the environment and in the file.
pub(super) trait Grammar: Sized {
    /// What a value is, as in "expected a string".
    const EXPECTED: &str;

    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong with `text`, for whoever has written it.
    fn parse(text: &str) -> Result<Self, String>;

    /// Reads a value from a table in the file.
    ///
    /// # Errors
    /// What is wrong with the table, or that this value cannot be a table.
    fn from_table<'de, A: MapAccess<'de>>(_: A) -> Result<Setting<Self>, A::Error> {
        Err(A::Error::invalid_type(Unexpected::Map, &Self::EXPECTED))
    }
}

impl<T: Grammar> FromStr for Setting<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        T::parse(text).map(|value| Self { text: text.to_owned(), value })
    }
}

impl<T> Serialize for Setting<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, T: Grammar> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SettingVisitor(PhantomData))
    }
}

struct SettingVisitor<T>(PhantomData<T>);

impl<'de, T: Grammar> Visitor<'de> for SettingVisitor<T> {
    type Value = Setting<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Self::Value, A::Error> {
        T::from_table(table)
    }
}

impl Grammar for u64 {
    const EXPECTED: &str = "a size such as 65536, 500K, 64M or 2G";

    /// In powers of 1024.
    fn parse(text: &str) -> Result<Self, String> {
        wire::search::parse_bytes(text).map_err(|_| format!("{text:?} is not {}", Self::EXPECTED))
    }
}

/// The address of a nats-server.
#[derive(Debug, Clone)]
pub(super) struct NatsUrl(pub(super) String);

impl Grammar for NatsUrl {
    const EXPECTED: &str = "an address such as nats://127.0.0.1:4222";

    fn parse(text: &str) -> Result<Self, String> {
        let uri =
            fluent_uri::Uri::parse(text).map_err(|e| format!("{text:?} is not {}: {e}", Self::EXPECTED))?;
        let host = uri.authority().filter(|authority| !authority.host().is_empty());
        if !["nats", "tls"].contains(&uri.scheme().as_str()) || host.is_none() || !uri.path().is_empty() {
            return Err(format!("{text:?} is not {}", Self::EXPECTED));
        }
        // Other users of the machine can read arguments and the environment.
        if host.is_some_and(|authority| authority.has_userinfo()) {
            return Err(
                "a password does not belong into an address; use --cluster-credentials FILE".to_owned()
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a cluster, which is a part of subjects and names of buckets in NATS.
#[derive(Debug, Clone)]
pub(super) struct ClusterName(pub(super) String);

impl Grammar for ClusterName {
    const EXPECTED: &str = "a name of 1 to 32 of A-Z a-z 0-9 _ -";

    fn parse(text: &str) -> Result<Self, String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if (1..=32).contains(&text.len()) && text.chars().all(is_allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{text:?} is not {}", Self::EXPECTED))
    }
}

/// Where the other servers of a cluster can connect to this one.
#[derive(Debug, Clone)]
pub(super) struct Advertised(pub(super) String);

impl Grammar for Advertised {
    const EXPECTED: &str = "HOST:PORT, such as 192.0.2.7:6789 or one.example.org:6789";

    fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').unwrap_or_default();
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        // An IPv6 address has brackets.
        let is_host = match text.parse::<SocketAddr>() {
            Ok(address) => !address.ip().is_unspecified(),
            Err(_) => !host.is_empty() && !host.contains(|c: char| ":/@[]".contains(c) || c.is_whitespace()),
        };
        match is_port && is_host {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("{text:?} is not {}", Self::EXPECTED)),
        }
    }
}

impl Grammar for Duration {
    const EXPECTED: &str = "a time such as 500ms, 30s or 2m";

    fn parse(text: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(text)
            .map_err(|e| format!("{text:?} is not {}: {e}", Self::EXPECTED))?;
        if time.is_zero() || time > TIMEOUT_MAX {
            return Err(format!("{text:?} is not a time over zero and up to a day"));
        }
        Ok(time)
    }
}

/// How long something is kept on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime(pub(super) Duration);

impl Grammar for Lifetime {
    const EXPECTED: &str = "a time such as 12h or 30d";

    fn parse(text: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(text)
            .map_err(|e| format!("{text:?} is not {}: {e}", Self::EXPECTED))?;
        if time < LIFETIME_MIN || time > LIFETIME_MAX {
            return Err(format!("{text:?} is not a time between a second and ten years"));
        }
        Ok(Self(time))
    }
}

impl Grammar for AccessLogFormat {
    const EXPECTED: &str = "combined or json";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "combined" => Ok(Self::Combined),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is not {}", Self::EXPECTED)),
        }
    }
}

impl Grammar for Listen {
    const EXPECTED: &str = "an address and port such as 127.0.0.1:6789 or [::1]:6789, tls:ADDR:PORT, unix:PATH[,mode=0660], or systemd";

    fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not {}", Self::EXPECTED);
        if text == "systemd" {
            return Ok(Self::Inherited);
        }
        if let Some(address) = text.strip_prefix("tls:") {
            return address.parse().map(Self::Tls).map_err(|_| bad());
        }
        let Some(rest) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Address).map_err(|_| bad());
        };
        let (path, mode) = match rest.rsplit_once(",mode=") {
            Some((path, mode)) => (path, unix_mode(mode)?),
            None => (rest, UNIX_SOCKET_MODE),
        };
        if path.is_empty() || path.contains('\0') {
            return Err(bad());
        }
        Ok(Self::Unix { path: path.into(), mode })
    }
}

/// Whether the system can give a Unix socket this name.
pub(super) fn is_unix_path_short_enough(path: &Path) -> bool {
    path.as_os_str().len() <= UNIX_PATH_BYTES_MAX
}

fn unix_mode(text: &str) -> Result<u32, String> {
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| is_octal && mode <= 0o777);
    mode.ok_or_else(|| format!("{text:?} is not a mode of a socket such as 0660"))
}
